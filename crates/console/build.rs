//! Puts the pages that `make pages` built (ui/dist) into the binary, packed. Where they are not built there are none, and
//! whoever asks for them is told how they are.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let dist = PathBuf::from("ui/dist");
    println!("cargo:rerun-if-changed={}", dist.display());
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut table = String::from("const FILES: &[(&str, &[u8])] = &[\n");
    let mut files = Vec::new();
    if dist.is_dir() {
        collect(&dist, &mut files)?;
    }
    files.sort();
    for (number, file) in files.iter().enumerate() {
        println!("cargo:rerun-if-changed={}", file.display());
        let packed = out.join(format!("page-{number}.gz"));
        let mut encoder = flate2::write::GzEncoder::new(std::fs::File::create(&packed)?, flate2::Compression::best());
        encoder.write_all(&std::fs::read(file)?)?;
        encoder.finish()?;
        let name = file.strip_prefix(&dist)?.to_str().ok_or("a file of the pages has no name in UTF-8")?;
        writeln!(table, "    ({name:?}, include_bytes!({:?})),", packed)?;
    }
    table.push_str("];\n");
    std::fs::write(out.join("pages.rs"), table)?;
    Ok(())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failed> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
