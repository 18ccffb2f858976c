// One slider for everything: the graph, lists, configuration, logs and traces all show the moment that it stands at. Its right
// end is now, and there it moves along. Behind it: requests and errors over the span, and marks where something was changed.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { t } from "../i18n/index.ts";
import { Icon } from "../parts/icons.tsx";
import { OnsetReport } from "../parts/onset.tsx";
import { Popover } from "../parts/popover.tsx";
import { pause, play, reaches, speeds, useReplay } from "../state/replay.ts";
import { changes, useChanges } from "../state/changes.ts";
import { clock, moment as momentText, span as spanText } from "../state/format.ts";
import { go, info, liveNow, view } from "../state/store.ts";
import { spans } from "../state/url.ts";
import { useVolume } from "../state/volume.ts";

const STEPS = 240;

export function Timeline(): JSX.Element {
  useChanges();
  useReplay();
  const v = view.value;
  const end = liveNow.value;
  const start = end - v.span;
  const step = v.span / STEPS;
  const at = v.at ?? end;
  const place = v.at === null ? STEPS : Math.max(0, Math.min(STEPS, Math.round((v.at - start) / step)));
  // While it is dragged, the picture follows at the pace of the answers.
  const [dragged, drag] = useState<number | null>(null);
  useEffect(() => {
    if (dragged === null) return;
    const later = setTimeout(() => { go({ at: dragged >= STEPS ? null : Math.round(start + dragged * step), play: null }); drag(null); }, 60);
    return () => clearTimeout(later);
  }, [dragged]);
  const move = (by: number): void => {
    const to = at + by;
    go({ at: to >= end - step ? null : Math.round(Math.max(to, info.value?.oldest ?? 0)), play: null });
  };
  const shown = dragged ?? place;
  const shownAt = dragged === null ? at : start + dragged * step;
  return (
    <section class={`timeline ${v.at === null ? "is-live" : "is-past"}`} aria-label={t("time.label")}>
      <button type="button" class="icon-button" aria-label={t("time.back", { step: spanText(step * 4) })} onClick={() => move(-step * 4)}><Icon name="back" /></button>
      <Replay />
      <div class="track">
        
        <Marks start={start} span={v.span} />
        {v.play !== null && v.at !== null && <div class="replay-range" style={{ left: `${Math.max(0, (v.at - start) / v.span) * 100}%`, right: `${Math.max(0, (end - v.play) / v.span) * 100}%` }} />}
        <div class="veil" style={{ left: `${(shown / STEPS) * 100}%` }} />
        <input type="range" min={0} max={STEPS} value={shown} aria-label={t("time.label")}
          aria-valuetext={v.at === null && dragged === null ? t("time.live") : momentText(shownAt)}
          onInput={(e) => drag(Number(e.currentTarget.value))} />
        <Volume span={v.span} end={end} />
        <span class="ends" aria-hidden="true"><span>{v.span > 86400 ? momentText(start).slice(0, 16) : clock(start).slice(0, 5)}</span></span>
      </div>
      <button type="button" class="icon-button" aria-label={t("time.forward", { step: spanText(step * 4) })} disabled={v.at === null} onClick={() => move(step * 4)}><Icon name="forward" /></button>
      <output class="moment">{v.at === null && dragged === null ? clock(end) : momentText(shownAt)}</output>
      <button type="button" class="live-button" aria-pressed={v.at === null} onClick={() => go({ at: null, play: null }, "push")}>
        <span class="dot" aria-hidden="true" />{v.at === null ? t("time.live") : t("time.goLive")}
      </button>
      <select aria-label={t("time.span")} value={v.span} onChange={(e) => go({ span: Number(e.currentTarget.value) })}>
        {spans.map((s) => <option key={s} value={s}>{spanText(s)}</option>)}
      </select>
    </section>
  );
}

/** Plays the past: from where one looks, or from a while ago where it is live. */
function Replay(): JSX.Element {
  const v = view.value;
  const runs = v.play !== null;
  return (
    <span class="replay">
      <button type="button" class="icon-button" aria-label={runs ? t("replay.pause") : t("replay.play")} title={runs ? t("replay.pause") : t("replay.play")} onClick={runs ? pause : play}><Icon name={runs ? "pause" : "play"} /></button>
      <Popover id="replay" name={`${t("replay.settings")}: ${spanText(v.replay)} · ×${v.speed}`} label={<span class="small">{spanText(v.replay)} · ×{v.speed}</span>}>
        <div class="form">
          <fieldset><legend>{t("replay.reach")}</legend>
            <div class="segmented" role="group" aria-label={t("replay.reach")}>{reaches.map((r) => <button key={r} type="button" aria-pressed={v.replay === r} onClick={() => go({ replay: r })}>{spanText(r)}</button>)}</div>
          </fieldset>
          <fieldset><legend>{t("replay.speed")}</legend>
            <div class="segmented" role="group" aria-label={t("replay.speed")}>{speeds.map((s) => <button key={s} type="button" aria-pressed={v.speed === s} onClick={() => go({ speed: s })}>×{s}</button>)}</div>
          </fieldset>
          <p class="muted small">{t("replay.lead")}</p>
        </div>
      </Popover>
    </span>
  );
}

/** Requests as an area, errors as bars on its ground, and a mark where errors begin: it says what was changed before. */
function Volume({ span, end }: { span: number; end: number }): JSX.Element {
  const { data } = useVolume(span, end);
  if (!data) return <svg class="volume" aria-hidden="true" />;
  const { times } = data.range;
  const [all, bad] = data.range.series.map((s) => s.values);
  const most = Math.max(1e-9, ...all.map((x) => x ?? 0));
  const x = (i: number): number => (i / Math.max(1, times.length - 1)) * 1000;
  const y = (n: number | null): number => 30 - ((n ?? 0) / most) * 26;
  const area = `M0 30${all.map((n, i) => `L${x(i).toFixed(1)} ${y(n).toFixed(1)}`).join("")}L1000 30Z`;
  const wide = 1000 / times.length;
  return (
    <>
      <svg class="volume" viewBox="0 0 1000 30" preserveAspectRatio="none" aria-hidden="true">
        <path d={area} class="all" />
        {bad.map((n, i) => ((n ?? 0) > 0 ? <rect key={i} x={x(i) - wide / 2} width={wide} y={Math.min(26, y(n))} height={30 - Math.min(26, y(n))} class="bad-bar" /> : null))}
      </svg>
      {data.onsets.map((o) => (
        <span key={o.at} class="onset-mark" style={{ left: `${((o.at - end + span) / span) * 100}%` }}>
          <Popover id={`onset-${o.at}`} plain name={t("onset.name", { time: clock(o.at).slice(0, 5) })} label="!"><OnsetReport onset={o} blur={Math.max(60, data.step)} /></Popover>
        </span>
      ))}
    </>
  );
}

function Marks({ start, span }: { start: number; span: number }): JSX.Element {
  return (
    <div class="change-marks" aria-hidden="true">
      {changes.value.filter((c) => c.at >= start).map((c) => <i key={`${c.at}${c.name}`} style={{ left: `${((c.at - start) / span) * 100}%` }} title={`${clock(c.at)} ${c.kind} ${c.name}: ${c.summary}`} />)}
    </div>
  );
}
