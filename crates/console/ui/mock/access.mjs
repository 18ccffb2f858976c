// Who asks, and what that one may do. Tokens of the mock: `admin`, may all; `blog`, may change what is in blog-system;
// `viewer`, may only look.
import { failure } from "./failure.mjs";

const users = {
  admin: { user: "system:serviceaccount:istio-system:admin", readOnly: false, why: "", only: null },
  blog: { user: "system:serviceaccount:blog-system:deployer", readOnly: false, why: "", only: ["blog-system"] },
  viewer: { user: "system:serviceaccount:default:viewer", readOnly: true, why: "system:serviceaccount:default:viewer may look, but change no Istio resource in any namespace.", only: [] },
};

/** `mode` as in the contract; `mustSignIn`: without it nothing is shown. */
export function createAccess({ mode = "anonymous", mustSignIn = false, readOnly = false } = {}) {
  const nobody = { mode, user: mode === "anonymous" ? "jimin" : null, readOnly: mode !== "anonymous" || readOnly, why: mode !== "anonymous" ? "Nobody has signed in. What is changed is changed with the rights of who signs in." : readOnly ? "This console was started with --read-only: it changes nothing." : "", code: mode !== "anonymous" ? "signedOut" : readOnly ? "readOnly" : "" };
  const who = (request) => users[/(?:^|; )console=(\w+)/.exec(request.headers.cookie ?? "")?.[1]] ?? null;
  const of = (request) => { const found = who(request); return found ? { mode, user: found.user, readOnly: found.readOnly, why: found.why, code: "" } : nobody; };
  return {
    /** Without a session, for tests to change. */
    nobody, of,
    check(request, path) {
      if (request.method === "POST" && (request.headers["x-requested-with"] !== "varka-console" || request.headers["content-type"] !== "application/json")) throw failure(403, "forbidden", "A request that changes something comes from this console only.");
      if (mustSignIn && !who(request) && !["info", "login", "logout"].includes(path)) throw failure(401, "forbidden", "You are not signed in, or your session has ended.", "Sign in.");
    },
    login(body, response) {
      if (mode !== "token") throw failure(404, "notFound", "Nobody signs in with a token here.");
      const found = users[body.token];
      if (!found) throw failure(401, "forbidden", "The API server does not know this token.", "It may have expired: make a new one.");
      response.setHeader("set-cookie", `console=${body.token}; Path=/; HttpOnly; SameSite=Strict`);
      return { mode, user: found.user, readOnly: found.readOnly, why: found.why, code: "" };
    },
    logout(response) {
      response.setHeader("set-cookie", "console=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
      return nobody;
    },
    /** There is no provider here: it says yes at once, and comes back. */
    provider(query, response) {
      if (mode !== "oidc") throw failure(404, "notFound", "There is no identity provider here.");
      const to = query.get("to") ?? "";
      response.writeHead(302, { location: to.startsWith("/console/") ? to : "/console/", "set-cookie": "console=admin; Path=/; HttpOnly; SameSite=Strict" });
      response.end();
    },
    /** Server-side apply and delete, as the caller. */
    may(request, ref, verb = "patch") {
      const allowed = who(request) ?? { user: nobody.user, only: mode === "anonymous" ? null : [] };
      if (allowed.only === null || allowed.only.includes(ref.namespace)) return;
      const resource = `${ref.kind.toLowerCase().replace(/y$/, "ie")}s`;
      throw failure(403, "forbidden", `User "${allowed.user}" cannot ${verb} resource "${resource}" in API group "${ref.group}" in the namespace "${ref.namespace}".`, `Whoever may grant it: a Role in ${ref.namespace} with verbs ${verb === "delete" ? "get and delete" : "get, create and patch"} on ${resource}.${ref.group}.`);
    },
  };
}
