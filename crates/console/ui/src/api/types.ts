// What the console process answers: the contract of `/console/api/`, of which API.md is the prose.
//
// Names and meanings of the graph follow the Rust module `varka_telemetry::graph` (its model serialises as it is). Every
// number is a number; a time is in seconds since the epoch unless its name says otherwise; what is not known is null.

// ---- errors -------------------------------------------------------------------------------------------------------------

/** Body of every answer that is not 2xx. */
export interface ApiError {
  /** What happened, for a person. */
  message: string;
  /** What to do about it; empty where nothing can be said. */
  hint: string;
  /** Machine-readable: `badRequest`, `forbidden`, `notFound`, `conflict`, `managed`, `invalid`, `readOnly`, `tooMany`, `unavailable`. */
  code: string;
  /** Places in what was sent, for `invalid`. */
  findings?: Finding[];
}

// ---- info ---------------------------------------------------------------------------------------------------------------

export interface Info {
  version: string;
  /** Time of the server, in milliseconds: the page counts from it and not from its own clock. */
  now: number;
  /** Oldest time of which anything is stored. */
  oldest: number;
  /** From when on it is known what pods, endpoints and the like were; before that they are shown as they are now. null: not yet. */
  podsSince: number | null;
  /** How often the graph changes, in seconds. */
  interval: number;
  cluster: string;
  access: Access;
  /** Those that the caller may see; none before a caller who has to sign in has done so. */
  namespaces: NamespaceItem[];
}

/** Who the caller is, how one signs in here, and whether anything can be changed. */
export interface Access {
  /** `anonymous`: nobody signs in; `token`: with a bearer token of the cluster; `oidc`: at an identity provider. */
  mode: "anonymous" | "token" | "oidc";
  /** Who the server takes the caller for; null: nobody has signed in. */
  user: string | null;
  /** This caller can change nothing through this console. */
  readOnly: boolean;
  /** Why not, for a person; empty where changes are possible. */
  why: string;
  /** The same for a page: `readOnly`: it was started so; `signedOut`: one has to sign in first; empty: `why` is all that is known, or changes are possible. */
  code: "" | "readOnly" | "signedOut";
}

export interface LoginRequest {
  /** A bearer token that the API server knows. */
  token: string;
}

export interface NamespaceItem {
  name: string;
  /** `true`: sidecars are injected. */
  injected: boolean;
  ambient: boolean;
  controlPlane: boolean;
  /** Mode of PeerAuthentication that applies to the whole namespace. */
  mtls: "STRICT" | "PERMISSIVE" | "DISABLE";
  health: HealthStatus;
  workloads: number;
  services: number;
  findings: FindingCount;
}

// ---- graph --------------------------------------------------------------------------------------------------------------

export type GraphType = "app" | "versionedApp" | "workload" | "service";
export type NodeKind = "aggregate" | "app" | "service" | "unknown" | "workload";
export type Protocol = "grpc" | "http" | "tcp";
export type Unit = "requests" | "messages" | "bytes";

export interface Graph {
  graphType: GraphType;
  timestamp: number;
  duration: number;
  nodes: Node[];
  /** `source` and `target` are places in `nodes`. */
  edges: Edge<number>[];
  leftOut: { contradictory: number; unusable: number; reportedTwice: number };
}

export interface Tally {
  total: number;
  noResponse: number;
  redirects: number;
  clientErrors: number;
  serverErrors: number;
  grpcErrors: number;
}

export interface InOut {
  incoming: Tally;
  outgoing: Tally;
}

export interface Node {
  /** Its name among all nodes of one graph type; does not change as long as the thing is called the same. */
  key: string;
  kind: NodeKind;
  cluster: string;
  namespace: string;
  workload: string;
  app: string;
  version: string;
  service: string;
  /** Label and value of classified requests. */
  aggregate: [string, string] | null;
  traffic: Record<Protocol, InOut>;
  services: { cluster: string; namespace: string; name: string }[];
  labels: Record<string, string>;
  badges: Badges;
  ambient: boolean;
  dead: boolean;
  inaccessible: boolean;
  injected: boolean;
  outOfMesh: boolean;
  outside: boolean;
  root: boolean;
  waypoint: boolean;
  egress: "PassthroughCluster" | "BlackHoleCluster" | null;
  idle: Idle | null;
  serviceEntry: { namespace: string; name: string; hosts: string[]; internal: boolean } | null;
  health: Health | null;
  /** Worst requests that it got in the window, at most three. Added by the console. */
  examples: Example[];
}

export interface Badges {
  circuitBreaker: boolean;
  faultInjection: boolean;
  mirroring: boolean;
  requestRouting: boolean;
  requestTimeout: boolean;
  tcpTrafficShifting: boolean;
  trafficShifting: boolean;
  virtualService: [string, string[]] | null;
  workloadEntries: string[];
  gateway: ["ingress" | "egress" | "gatewayApi", string[]] | null;
  ingressWaypoint: boolean;
  gatewayApi: boolean;
}

export type Idle =
  | { why: "notInWindow"; lastSeen: number }
  | { why: "neverSeen" }
  | { why: "scaledToZero" }
  | { why: "noPods" }
  | { why: "notInMesh" };

/** An edge; its ends are places in a list of nodes (`number`) or keys of nodes (`string`). */
export interface Edge<End = string> {
  source: End;
  target: End;
  protocol: Protocol;
  unit: Unit;
  rates: Tally;
  responses: { code: string; flags: string; host: string; rate: number }[];
  security: Security | null;
  /** Milliseconds. */
  responseTimes: { avg: number; p50: number; p95: number; p99: number } | null;
  /** Bytes a second of requests and of responses. */
  throughput: { request: number; response: number } | null;
  health: Health | null;
  /** Worst requests of the window, at most three. Added by the console. */
  examples: Example[];
  /** Why traffic went to no known service; empty for all other edges. */
  unmatched: Unmatched[];
  hidden: boolean;
}

export interface Security {
  /** Share that came over mTLS, from 0 to 1. */
  mtls: number;
  sourcePrincipal: string | null;
  destinationPrincipal: string | null;
  morePrincipals: boolean;
}

/** What was asked for where no service was found, why none was, and what was probably meant. */
export interface Unmatched {
  /** Host that the client named; empty: not known. */
  host: string;
  /** Address that it dialled; empty: not known. */
  address: string;
  port: number | null;
  rate: number;
  reason: UnmatchedReason;
  meant: { kind: "Service" | "ServiceEntry"; namespace: string; name: string; host: string } | null;
  /** Where the same requests arrived, as the server tells. */
  arrived: { namespace: string; workload: string; service: string } | null;
  /** All of it in words (English). */
  message: string;
  /** A resource that would mend it; null where the mend lies in the application. Added by the console. */
  yaml: string | null;
}

export type UnmatchedReason =
  | { code: "nothingKnown" }
  | { code: "publicHost"; resource: string }
  | { code: "podAddress"; workload: string }
  | { code: "portNotServed"; ports: number[] }
  | { code: "otherNamespace" }
  | { code: "notVisible" }
  | { code: "similar" }
  | { code: "notRegistered" };

export type HealthStatus = "Healthy" | "Degraded" | "Failure" | "Not Ready" | "NA";

/** How well a thing does, and by which rule. */
export interface Health {
  /** What its requests say, as far as they suffice. */
  verdict: Verdict;
  /** The worse of that and of its pods; absent on edges, which have no pods. */
  status?: HealthStatus;
  /** Pods of its workloads. Absent on edges and services. */
  workloads?: WorkloadReplicas[];
}

export interface WorkloadReplicas {
  name: string;
  desired: number;
  current: number;
  available: number;
  /** Whose proxies hold the newest configuration; -1: it has no sidecars. */
  syncedProxies: number;
}

export interface Verdict {
  status: HealthStatus;
  /** Errors were seen, and too few requests to tell what they mean. */
  notEnoughData: boolean;
  reason: VerdictReason | null;
}

export interface VerdictReason {
  /** The rule: patterns, and the percentages from which on it is degraded and fails (0: any error). */
  tolerance: { code: string; protocol: string; direction: string; degraded: number; failure: number };
  protocol: string;
  direction: "inbound" | "outbound";
  errors: number;
  all: number;
  percent: number;
  /** Where the true share lies, in percent. */
  interval: { low: number; high: number };
  /** What the share would mean if it were certain. */
  ifCertain: HealthStatus;
}

/** A bad request of the window. */
export interface Example {
  at: number;
  method: string;
  path: string;
  code: string;
  flags: string;
  /** Milliseconds. */
  duration: number;
  traceId: string | null;
}

// ---- stream -------------------------------------------------------------------------------------------------------------

/** Event `graph`: what is different since the last. Its first after a connect without Last-Event-ID has `whole: true`. */
export interface GraphPatch {
  whole: boolean;
  timestamp: number;
  duration: number;
  nodes: Node[];
  edges: Edge[];
  goneNodes: string[];
  /** `SOURCE>TARGET>PROTOCOL`. */
  goneEdges: string[];
}

/** Event `health`. */
export interface HealthEvent {
  kind: "namespace" | "workload" | "service" | "app";
  namespace: string;
  name: string;
  status: HealthStatus;
}

/** Event `changes`, and an item of `/changes`. */
export interface Change {
  at: number;
  verb: "created" | "updated" | "deleted";
  kind: string;
  namespace: string;
  name: string;
  /** Who did it: field manager or user; empty: not known. */
  by: string;
  /** One line, for a person: `weight of canary 0 -> 10`. */
  summary: string;
}

/** Event `logs`, and an item of `/logs`. */
export interface LogLine {
  /** Microseconds since the epoch. */
  at: number;
  pod: string;
  container: string;
  text: string;
  /** Of a line of a proxy's access log in one of Istio's default forms; else null. */
  access: AccessEntry | null;
}

export interface AccessEntry {
  method: string;
  path: string;
  code: string;
  flags: string;
  details: string;
  /** Milliseconds. */
  duration: number;
  host: string;
  cluster: string;
  upstream: string;
  direction: "inbound" | "outbound";
  traceId: string | null;
}

// ---- lists and objects --------------------------------------------------------------------------------------------------

export type FindingCount = { errors: number; warnings: number };

export interface WorkloadItem {
  namespace: string;
  name: string;
  kind: string;
  app: string;
  version: string;
  sidecar: boolean;
  ambient: boolean;
  replicas: Omit<WorkloadReplicas, "name"> | null;
  health: Health;
  /** Absent where none is at hand. */
  examples?: Example[];
  /** Requests a second that arrive, and share of them that fails (0 to 1). */
  rate: number;
  errorShare: number;
  findings: FindingCount;
}

export interface ServiceItem {
  namespace: string;
  name: string;
  ports: { name: string; number: number; protocol: string }[];
  selector: Record<string, string>;
  hosts: string[];
  health: Health;
  /** Absent where none is at hand. */
  examples?: Example[];
  rate: number;
  errorShare: number;
  /** Configuration objects that apply to it. */
  config: ObjectRef[];
  findings: FindingCount;
}

export interface AppItem {
  namespace: string;
  name: string;
  versions: string[];
  workloads: string[];
  services: string[];
  health: Health;
  /** Absent where none is at hand. */
  examples?: Example[];
  rate: number;
  errorShare: number;
  findings: FindingCount;
}

export interface ObjectRef {
  group: string;
  version: string;
  kind: string;
  namespace: string;
  name: string;
}

export interface ConfigItem extends ObjectRef {
  created: number;
  changed: number;
  findings: FindingCount;
  /** Managed from elsewhere (a Git repository, a canary controller); empty: by hand. */
  managedBy: string;
}

export interface ObjectDetail {
  ref: ObjectRef;
  /** As it was at the time that was asked for, without managedFields and status. */
  yaml: string;
  resourceVersion: string;
  managedBy: string;
  findings: Finding[];
  /** Newest first. */
  history: Revision[];
  /** Workloads whose proxies it changes. */
  affects: { namespace: string; name: string }[];
  /** Since when it is gone; then `yaml` is what it said last, and `resourceVersion` is empty. Null: it is there. */
  deleted: number | null;
}

export interface Revision {
  at: number;
  /** Of a deletion `yaml` is empty, `by` too, and `resourceVersion` is that of the revision before. */
  verb: "created" | "updated" | "deleted";
  by: string;
  summary: string;
  resourceVersion: string;
  yaml: string;
}

export interface Finding {
  severity: "error" | "warning" | "info";
  /** Code, as in Kiali where it has one (KIA…). */
  code: string;
  message: string;
  /** What it means for traffic, and what to do. */
  hint: string;
  /** Path of the field, `spec.http[0].route[1].destination.host`. */
  field: string;
  /** Lines and columns of the YAML that was sent or answered, from 1; 0: none. */
  line: number;
  column: number;
}

// ---- changing -----------------------------------------------------------------------------------------------------------

export interface ValidateRequest {
  yaml: string;
}
export interface ValidateAnswer {
  findings: Finding[];
}

export interface ApplyRequest {
  yaml: string;
  dryRun: boolean;
  /** Of the object that the change was made from; another one since then is a conflict. Null: not checked, as for a new object or several. */
  resourceVersion: string | null;
  /** Takes fields over from other managers; after a `managed` only, when somebody has said so. */
  force?: boolean;
}

export interface ApplyAnswer {
  /** Whether anything was written. */
  applied: boolean;
  objects: {
    ref: ObjectRef;
    verb: "created" | "updated" | "unchanged";
    /** Before and after, as the server holds it; empty: there was none. */
    before: string;
    after: string;
  }[];
  findings: Finding[];
  effect: Effect | null;
}

export interface DeleteRequest {
  ref: ObjectRef;
  dryRun: boolean;
  /** Of the object that was looked at; another one since then is a conflict. Null: not checked. */
  resourceVersion: string | null;
}

export interface DeleteAnswer {
  /** False of a dry run, and where something has to let go of the object first: `findings` say what. */
  deleted: boolean;
  ref: ObjectRef;
  /** What it said. */
  yaml: string;
  findings: Finding[];
  /** Of a dry run. */
  effect: Effect | null;
}

/** What requests of the last minutes would have met, had the change been there. Numbers of requests are estimates where a sample was recorded. */
export interface Effect {
  /** Seconds since the epoch. */
  from: number;
  to: number;
  /** Requests that were decided, and records that these were decided from. */
  requests: number;
  recorded: number;
  /** Requests that would meet what they meet. */
  same: number;
  /** The others, by kind; at most 50. */
  groups: EffectGroup[];
  /** Requests of groups that are too small to be told. */
  more: number;
  /** Requests that were not decided: there was no time; */
  unexamined: number;
  /** they come by namespaces that the caller may not see; */
  hidden: number;
  /** too little was recorded of them; */
  unread: number;
  /** they were counted, and none like them was recorded. */
  unrecorded: number;
  /** Traces are kept elsewhere: nothing was looked at. */
  records: "kept" | "elsewhere";
}

export interface EffectGroup {
  /** `allowed`: refused now; `mended`: does not get there now; `unknown`: it hangs on what was not recorded, as `because` says. */
  kind: "denied" | "failed" | "rerouted" | "altered" | "allowed" | "mended" | "unknown";
  /** Empty names: a client outside the mesh. */
  from: { namespace: string; workload: string };
  /** Host of the service that they are for, else what they name. */
  to: string;
  requests: number;
  /** Of all requests from there to there, from 0 to 1: what is left to chance is told by what is to be expected. */
  share: number;
  before: Met;
  after: Met;
  /** Steps that are otherwise, as in `Step`; empty: there is no such step. */
  changes: { step: string; before: string; after: string }[];
  because: string;
  /** As it would be; of what is taken away, as it is. `field`: `spec.rules[0]`. */
  by: (ObjectRef & { line: number; field: string }) | null;
  /** How often each status came back to requests like these; "0": no answer. */
  codes: Record<string, number>;
  /** At most three. */
  examples: { at: number; method: string; path: string; code: number; traceId: string }[];
}

/** What requests meet. */
export interface Met {
  outcome: Explanation["outcome"];
  /** What a proxy answers; null: the application answers, or nobody does. */
  status: number | null;
  /** Cluster that the client's proxy sends them to; empty: none. */
  cluster: string;
  /** NAMESPACE/NAME where they arrive; empty: not known. */
  workload: string;
  verdict: string;
}

// ---- explain ------------------------------------------------------------------------------------------------------------

/** Either a stored trace, or a request that is thought up. */
export interface ExplainRequest {
  traceId?: string;
  from?: { namespace: string; workload: string };
  /** `port` 0: the first port of the service that answers to the host. */
  to?: { host: string; port: number; method: string; path: string; headers: Record<string, string> };
  at?: number;
}

export interface Explanation {
  request: { method: string; host: string; path: string };
  /** What came of it, in one sentence. */
  verdict: string;
  outcome: "ok" | "denied" | "failed" | "passthrough" | "blackhole";
  /** What pods and endpoints were then is not known, and it was decided with those of now. */
  podsOfNow: boolean;
  hops: Hop[];
}

export interface Hop {
  /** Who decides here: `web-7c9f outbound`. */
  proxy: { namespace: string; workload: string; direction: "inbound" | "outbound" };
  steps: Step[];
}

export interface Step {
  /** Name of the step, as in ARCHITECTURE.md: listener, virtualHost, route, cluster, endpoint, tls, authorization, fault, retry, … */
  step: string;
  /** What was chosen. */
  chosen: string;
  /** Why. */
  because: string;
  /** The object that said so. */
  by: (ObjectRef & { line: number; field: string }) | null;
  /** What else was there, and why it lost. */
  rejected: { what: string; why: string }[];
  ok: boolean;
}

// ---- mesh ---------------------------------------------------------------------------------------------------------------

export interface Mesh {
  controlPlane: {
    name: string;
    namespace: string;
    version: string;
    replicas: number;
    ready: number;
    /** Newest configuration. */
    revision: string;
    /** Milliseconds from a change until the last proxy holds it, 99 of 100; 0: not known, as below. */
    convergence: number;
    cpu: number;
    memory: number;
  }[];
  certificates: Certificate[];
  proxies: Proxy[];
  store: { samples: number; spans: number; lines: number; bytes: number; limit: number; dropped: number; oldest: number };
  mtls: { mode: NamespaceItem["mtls"] };
  settings: { name: string; value: string; meaning: string }[];
}

export interface Certificate {
  /** `ca`, `workload`, `ingress`. */
  role: string;
  subject: string;
  issuer: string;
  notBefore: number;
  notAfter: number;
  namespace: string;
  workload: string;
}

export interface Proxy {
  namespace: string;
  workload: string;
  pod: string;
  version: string;
  /** `synced`: holds the newest; `stale`: was sent it and has not answered; `rejected`: refused it; `lost`: not connected. */
  sync: "synced" | "stale" | "rejected" | "lost";
  revision: string;
  since: number;
  /** Words of the proxy that refused. */
  error: string;
  /** 0: not known. */
  certificateExpires: number;
  memory: number;
}
