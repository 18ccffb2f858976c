// 한국어: what the page says, and what the server says.
import { reader, type Row } from "../said.ts";
import { errors } from "./errors.ts";
import { explain } from "./explain.ts";
import { findings } from "./findings.ts";
import { ko } from "./messages.ts";

/** By what they are about. */
export const forms: Record<string, readonly Row[]> = { explain, errors, findings };

export const messages = ko;
export const read = reader(Object.values(forms).flat());
