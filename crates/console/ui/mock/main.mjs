// The mock server by hand: `npm run mock -- --port 8080 --scenario story|errors|passthrough|canary|clusters|large|wide --login token|oidc`.
import { parseArgs } from "node:util";
import { serve } from "./server.mjs";

const { values } = parseArgs({ options: { port: { type: "string", default: "8080" }, scenario: { type: "string", default: "story" }, login: { type: "string", default: "anonymous" }, "must-sign-in": { type: "boolean", default: false }, "read-only": { type: "boolean", default: false } } });
const server = await serve({ port: Number(values.port), scenario: values.scenario, readOnly: values["read-only"], mode: values.login, mustSignIn: values["must-sign-in"] });
console.log(`${server.url}/console/`);
