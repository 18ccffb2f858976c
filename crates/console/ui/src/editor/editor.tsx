// The editor in the page.
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Finding } from "../api/types.ts";
import type { Open } from "./codemirror.ts";

export function Editor({ text, label, readOnly, onChange, check, onReady }: {
  text: string; label: string; readOnly: boolean; onChange: (text: string) => void; check: (text: string) => Promise<Finding[]>; onReady?: (open: Open) => void;
}): JSX.Element {
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => {
    let open: Open | null = null;
    let gone = false;
    void import("./codemirror.ts").then(({ edit }) => {
      if (gone || !host.current) return;
      open = edit(host.current, { text, label, readOnly, onChange, check });
      onReady?.(open);
    });
    return () => { gone = true; open?.destroy(); };
  }, []);
  return <div ref={host} class="editor" />;
}
