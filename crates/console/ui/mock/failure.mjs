// An answer that is not 2xx.
export function failure(status, code, message, hint = "", findings = undefined) {
  return Object.assign(new Error(message), { status, code, hint, findings });
}
