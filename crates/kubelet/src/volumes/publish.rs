//! Writing a set of files so that a reader sees all old ones or all new ones: a directory of its own, and a link that is swapped.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A file's content and mode.
pub(super) type Files = BTreeMap<PathBuf, (Vec<u8>, u32)>;

const CURRENT: &str = "..data";

/// Makes `directory` show exactly these files. Does nothing when it does already.
pub(super) fn publish(directory: &Path, files: &Files) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let link = directory.join(CURRENT);
    let old = fs::read_link(&link).ok();
    if old.as_ref().is_some_and(|old| same(&directory.join(old), files)) {
        return Ok(());
    }
    let name = format!("..{}", jiff::Timestamp::now().as_nanosecond());
    let fresh = directory.join(&name);
    for (path, (content, mode)) in files {
        let target = fresh.join(path);
        fs::create_dir_all(target.parent().unwrap_or(&fresh))?;
        fs::write(&target, content)?;
        fs::set_permissions(&target, Permissions::from_mode(*mode))?;
    }
    fs::create_dir_all(&fresh)?;
    let next = directory.join("..data_tmp");
    drop(fs::remove_file(&next));
    symlink(&name, &next)?;
    fs::rename(&next, &link)?;
    outside(directory, files)?;
    if let Some(old) = old.filter(|old| old.as_os_str() != name.as_str()) {
        fs::remove_dir_all(directory.join(old))?;
    }
    Ok(())
}

/// The names that are seen: links through the current directory, for the first part of each path.
fn outside(directory: &Path, files: &Files) -> io::Result<()> {
    let firsts: Vec<&Path> = files.keys().filter_map(|path| path.iter().next()).map(Path::new).collect();
    for first in &firsts {
        let link = directory.join(first);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(CURRENT).join(first), &link)?;
        }
    }
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let kept = name.to_string_lossy().starts_with("..") || firsts.iter().any(|first| first.as_os_str() == name);
        if !kept {
            fs::remove_file(directory.join(name))?;
        }
    }
    Ok(())
}

fn same(directory: &Path, files: &Files) -> bool {
    fn count(directory: &Path) -> usize {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|e| if e.path().is_dir() { count(&e.path()) } else { 1 }).sum()
    }
    count(directory) == files.len()
        && files.iter().all(|(path, (content, mode))| {
            let path = directory.join(path);
            let right_mode = fs::metadata(&path).is_ok_and(|m| m.permissions().mode() & 0o7777 == *mode);
            right_mode && fs::read(&path).is_ok_and(|found| found == *content)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter().map(|(path, text)| (PathBuf::from(path), (text.as_bytes().to_vec(), 0o644))).collect()
    }

    #[test]
    fn files_appear_change_and_vanish() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().join("v");
        publish(&directory, &files(&[("a", "1"), ("d/b", "2")])).unwrap();
        assert_eq!(fs::read_to_string(directory.join("d/b")).unwrap(), "2");
        let first = fs::read_link(directory.join(CURRENT)).unwrap();
        publish(&directory, &files(&[("a", "1"), ("d/b", "2")])).unwrap();
        assert_eq!(fs::read_link(directory.join(CURRENT)).unwrap(), first, "no change, no swap");
        publish(&directory, &files(&[("a", "new")])).unwrap();
        assert_eq!(fs::read_to_string(directory.join("a")).unwrap(), "new");
        assert!(!directory.join("d").exists() && fs::symlink_metadata(directory.join("d")).is_err());
        assert!(!directory.join(first).exists(), "the old set is gone");
    }
}
