// Tabs, with the arrow keys between them. Which one is open stands in the address.
import type { ComponentChildren, JSX, TargetedKeyboardEvent } from "preact";

export function Tabs({ tabs, open, onOpen, label, children }: {
  tabs: { id: string; title: string }[]; open: string; onOpen: (id: string) => void; label: string; children: ComponentChildren;
}): JSX.Element {
  const keys = (e: TargetedKeyboardEvent<HTMLElement>): void => {
    const i = tabs.findIndex((tab) => tab.id === open);
    const to = e.key === "ArrowRight" ? tabs[(i + 1) % tabs.length] : e.key === "ArrowLeft" ? tabs[(i + tabs.length - 1) % tabs.length] : null;
    if (!to) return;
    e.preventDefault();
    onOpen(to.id);
    document.getElementById(`tab-${to.id}`)?.focus();
  };
  return (
    <div class="tabbed">
      <div class="tabs" role="tablist" aria-label={label} onKeyDown={keys}>
        {tabs.map((tab) => (
          <button key={tab.id} id={`tab-${tab.id}`} type="button" role="tab" aria-selected={tab.id === open} aria-controls="tab-panel" tabIndex={tab.id === open ? 0 : -1} onClick={() => onOpen(tab.id)}>{tab.title}</button>
        ))}
      </div>
      <div id="tab-panel" role="tabpanel" aria-labelledby={`tab-${open}`} class="tab-panel">{children}</div>
    </div>
  );
}
