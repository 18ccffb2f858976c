// A button that opens a sheet below itself. The browser's own popover: closed by Escape or a press elsewhere.
import type { ComponentChildren, JSX, TargetedToggleEvent } from "preact";
import { useRef } from "preact/hooks";
import { Icon } from "./icons.tsx";

export function Popover({ label, name, id, children, plain = false, end = false }: {
  label: ComponentChildren; name?: string; id: string; children: ComponentChildren; plain?: boolean; end?: boolean;
}): JSX.Element {
  const button = useRef<HTMLButtonElement>(null);
  const place = (event: TargetedToggleEvent<HTMLDivElement>): void => {
    const sheet = event.currentTarget;
    if (event.newState !== "open" || !button.current) return;
    const b = button.current.getBoundingClientRect();
    const width = sheet.offsetWidth;
    const left = end ? b.right - width : b.left;
    sheet.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
    sheet.style.top = b.bottom + 6 + sheet.offsetHeight > innerHeight && b.top > innerHeight / 2 ? `${b.top - 6 - sheet.offsetHeight}px` : `${b.bottom + 6}px`;
  };
  return (
    <>
      <button ref={button} type="button" class={plain ? "icon-button" : "button"} popovertarget={id} aria-label={name} title={name} aria-haspopup="dialog">
        {label}{!plain && <Icon name="chevron" size={14} />}
      </button>
      <div id={id} popover="auto" class="sheet" role="dialog" aria-label={name ?? (typeof label === "string" ? label : undefined)} onToggle={place}>{children}</div>
    </>
  );
}
