// WebGL2 renderer: four instanced draws a frame (boxes and nodes, edges, arrows, dots). Buffers are filled when the scene
// changes; a frame only sets the camera and the time, so that 2,000 nodes cost as little as twenty.
import type { Camera } from "./camera.ts";
import { dotsOf, type Scene, type Shape } from "./scene.ts";
import { patterns, type Rgba, type Theme, widths } from "./theme.ts";

export interface Renderer {
  readonly name: "webgl2" | "canvas2d";
  setScene(scene: Scene, theme: Theme, selected: string | null): void;
  resize(width: number, height: number, ratio: number): void;
  draw(camera: Camera, seconds: number, animate: boolean): void;
  dispose(): void;
}

const SEGMENTS = 22;
const shapes: Record<Shape, number> = { circle: 0, square: 1, diamond: 2, trapezoid: 3, hexagon: 4, octagon: 5, stack: 6 };
const BOX = 7;

const view = `uniform vec3 u_camera; uniform vec2 u_size; uniform float u_ratio;
vec2 screen(vec2 p){ return p*u_camera.z+u_camera.xy; }
vec4 clip(vec2 s){ return vec4(s.x/u_size.x*2.-1., 1.-s.y/u_size.y*2., 0., 1.); }
vec2 bez(vec4 a, vec4 b, float t){ float u=1.-t; return u*u*u*a.xy+3.*u*u*t*a.zw+3.*u*t*t*b.xy+t*t*t*b.zw; }
vec2 der(vec4 a, vec4 b, float t){ float u=1.-t; return 3.*u*u*(a.zw-a.xy)+6.*u*t*(b.xy-a.zw)+3.*t*t*(b.zw-b.xy); }`;

const edgeVertex = `#version 300 es
${view}
layout(location=0) in vec2 a_strip; layout(location=1) in vec4 a_a; layout(location=2) in vec4 a_b; layout(location=3) in vec4 a_color; layout(location=4) in vec2 a_style;
out vec4 v_color; out float v_side; out float v_along; flat out vec2 v_style;
void main(){
  float t=a_strip.x; vec2 p=screen(bez(a_a,a_b,t)); vec2 d=normalize(der(a_a,a_b,t)+1e-5);
  float w=max(.8,a_style.x*clamp(u_camera.z*1.1,.3,1.4)); float half_=w*.5+1.;
  v_side=a_strip.y*half_; v_color=a_color; v_style=vec2(w,a_style.y);
  float len=(length(a_b.zw-a_a.xy)+length(a_a.zw-a_a.xy)+length(a_b.xy-a_a.zw)+length(a_b.zw-a_b.xy))*.5;
  v_along=t*len*u_camera.z;
  gl_Position=clip(p+vec2(-d.y,d.x)*a_strip.y*half_);
}`;
const edgeFragment = `#version 300 es
precision highp float; in vec4 v_color; in float v_side; in float v_along; flat in vec2 v_style; out vec4 o;
void main(){
  float w=v_style.x*.5; float a=clamp(w+.5-abs(v_side),0.,1.); int k=int(v_style.y+.5);
  if(k==1) a*=smoothstep(0.,1.,7.-mod(v_along,11.)); 
  else if(k==2) a*=smoothstep(0.,1.,2.-mod(v_along,6.));
  else if(k==3) a*=clamp(abs(v_side)-w*.34+.5,0.,1.);
  else if(k==4){ float m=mod(v_along,18.); a*=max(smoothstep(0.,1.,10.-m), smoothstep(0.,1.,m-13.)*smoothstep(0.,1.,16.-m)); }
  o=vec4(v_color.rgb,1.)*v_color.a*a;
}`;
const arrowVertex = `#version 300 es
${view}
layout(location=0) in vec2 a_corner; layout(location=1) in vec4 a_a; layout(location=2) in vec4 a_b; layout(location=3) in vec4 a_color; layout(location=4) in vec2 a_style;
out vec4 v_color;
void main(){
  vec2 tip=screen(a_b.zw); vec2 d=normalize(a_b.zw-a_b.xy+1e-5); float s=clamp(9.*u_camera.z,2.5,11.)*(a_style.x>3.?1.25:1.);
  v_color=a_color; gl_Position=clip(tip+d*3.*u_camera.z+d*a_corner.x*s+vec2(-d.y,d.x)*a_corner.y*s*.55);
}`;
const flatFragment = `#version 300 es
precision mediump float; in vec4 v_color; out vec4 o; void main(){ o=vec4(v_color.rgb,1.)*v_color.a; }`;

const nodeVertex = `#version 300 es
${view}
layout(location=0) in vec2 a_corner; layout(location=1) in vec4 a_rect; layout(location=2) in vec4 a_fill; layout(location=3) in vec4 a_ring; layout(location=4) in vec4 a_style;
out vec2 v_p; flat out vec2 v_half; out vec4 v_fill; out vec4 v_ring; flat out vec4 v_style;
void main(){
  vec2 h=a_rect.zw*u_camera.z; if(a_style.x<6.5) h=max(h,vec2(2.2)); float margin=a_style.w>0.?9.:3.;
  v_half=h; v_p=a_corner*(h+margin); v_fill=a_fill; v_ring=a_ring; v_style=vec4(a_style.x,a_style.y*clamp(u_camera.z,.35,1.3),a_style.z,a_style.w);
  gl_Position=clip(screen(a_rect.xy)+v_p);
}`;
const nodeFragment = `#version 300 es
precision highp float; in vec2 v_p; flat in vec2 v_half; in vec4 v_fill; in vec4 v_ring; flat in vec4 v_style; uniform vec4 u_accent; out vec4 o;
float box(vec2 p, vec2 b, float r){ vec2 q=abs(p)-b+r; return min(max(q.x,q.y),0.)+length(max(q,0.))-r; }
float shape(int k, vec2 p, vec2 h){
  if(k==0) return length(p)-h.x;
  if(k==1) return box(p,h*.92,h.x*.28);
  if(k==2){ vec2 q=abs(p); return (q.x+q.y-h.x*1.2)*.7071; }
  if(k==3){ float s=h.x; vec2 q=vec2(abs(p.x),p.y); float side=(q.x-s*.8-(q.y)*.32)*.952; return max(abs(q.y)-s*.8, side); }
  if(k==4){ vec2 q=abs(p); return max(q.x*.866+q.y*.5,q.y)-h.x*.9; }
  if(k==5){ vec2 q=abs(p); return max(max(q.x,q.y),(q.x+q.y)*.7071)-h.x*.95; }
  if(k==6) return box(p,h*vec2(1.,.86),h.x*.22);
  return box(p,h,10.);
}
vec4 over(vec4 a, vec4 b){ return a+b*(1.-a.a); }
void main(){
  int k=int(v_style.x+.5); float d=shape(k,v_p,v_half); float w=v_style.y; float inside=clamp(.5-d,0.,1.);
  float ring=clamp(.5-(abs(d+w*.5)-w*.5),0.,1.);
  if(v_style.z>.5&&v_style.z<1.5){ float a=atan(v_p.y,v_p.x)*v_half.x; ring*=smoothstep(0.,1.,4.5-mod(a,7.)); }
  if(v_style.z>1.5) ring=max(ring, .9*clamp(.5-(abs(d+w*2.6)-w*.35),0.,1.));
  vec4 c=vec4(v_fill.rgb,1.)*v_fill.a*inside; c=over(vec4(v_ring.rgb,1.)*v_ring.a*ring,c);
  if(v_style.w>.5){ float halo=clamp(.5-(abs(d-4.5)-1.25),0.,1.); c=over(vec4(u_accent.rgb,1.)*halo,c); }
  o=c;
}`;
const dotVertex = `#version 300 es
${view}
uniform float u_time;
layout(location=0) in vec2 a_corner; layout(location=1) in vec4 a_a; layout(location=2) in vec4 a_b; layout(location=3) in vec4 a_color; layout(location=4) in vec3 a_run;
out vec2 v_p; out vec4 v_color; flat out float v_kind;
void main(){
  float t=fract(a_run.x+u_time*a_run.y); vec2 p=screen(bez(a_a,a_b,t)); v_kind=a_run.z; v_color=a_color;
  float z=u_camera.z/u_ratio; float r=(a_run.z>.5&&a_run.z<1.5?1.35:1.)*clamp(4.4*z,z<.3?1.:3.,5.)*u_ratio; v_p=a_corner*(r+1.)/r; v_color.a*=smoothstep(0.,.06,t)*smoothstep(0.,.06,1.-t);
  if(a_run.z>1.5){ vec2 d=normalize(der(a_a,a_b,t)+1e-5); p+=vec2(-d.y,d.x)*3.*u_camera.z; }
  gl_Position=clip(p+a_corner*(r+1.));
}`;
const dotFragment = `#version 300 es
precision mediump float; in vec2 v_p; in vec4 v_color; flat in float v_kind; uniform vec4 u_ground; out vec4 o;
void main(){ float d=v_kind>.5&&v_kind<1.5?abs(v_p.x)+abs(v_p.y):v_kind>1.5?max(abs(v_p.x),abs(v_p.y))*1.25:length(v_p);
  float a=1.-smoothstep(.85,1.05,d); float core=1.-smoothstep(.66,.84,d);
  o=vec4(mix(u_ground.rgb,v_color.rgb,core),1.)*v_color.a*a; }`;

interface Draw { program: WebGLProgram; vao: WebGLVertexArrayObject; instances: WebGLBuffer; count: number; uniforms: Record<string, WebGLUniformLocation | null> }

export function webgl(canvas: HTMLCanvasElement): Renderer | null {
  const gl = canvas.getContext("webgl2", { antialias: false, alpha: true, premultipliedAlpha: true, powerPreference: "low-power" });
  if (!gl) return null;
  const edges = prepare(gl, edgeVertex, edgeFragment, strip(), 2, [4, 4, 4, 2]);
  const arrows = prepare(gl, arrowVertex, flatFragment, new Float32Array([0, 0, -1, 1, -1, -1]), 2, [4, 4, 4, 2], edges.instances);
  const nodes = prepare(gl, nodeVertex, nodeFragment, quad, 2, [4, 4, 4, 4]);
  const boxes = prepare(gl, nodeVertex, nodeFragment, quad, 2, [4, 4, 4, 4]);
  const dots = prepare(gl, dotVertex, dotFragment, quad, 2, [4, 4, 4, 3]);
  let size = { width: 1, height: 1, ratio: 1 };
  let theme: Theme | null = null;

  const fill = (draw: Draw, data: number[], floats: number): void => {
    gl.bindBuffer(gl.ARRAY_BUFFER, draw.instances);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(data), gl.DYNAMIC_DRAW);
    draw.count = data.length / floats;
  };
  const paint = (draw: Draw, camera: Camera, mode: number, vertices: number, time = 0): void => {
    if (draw.count === 0 || !theme) return;
    gl.useProgram(draw.program);
    gl.bindVertexArray(draw.vao);
    const u = draw.uniforms;
    // Lengths in shaders are device pixels.
    gl.uniform3f(u.u_camera, camera.x * size.ratio, camera.y * size.ratio, camera.zoom * size.ratio);
    gl.uniform2f(u.u_size, size.width * size.ratio, size.height * size.ratio);
    if (u.u_ratio) gl.uniform1f(u.u_ratio, size.ratio);
    if (u.u_time) gl.uniform1f(u.u_time, time);
    if (u.u_accent) gl.uniform4fv(u.u_accent, theme.accent);
    if (u.u_ground) gl.uniform4fv(u.u_ground, theme.ground);
    gl.drawArraysInstanced(mode, 0, vertices, draw.count);
  };

  return {
    name: "webgl2",
    setScene(scene, now, selected) {
      theme = now;
      const fade = (c: Rgba, dim: boolean): number[] => [c[0], c[1], c[2], dim ? c[3] * 0.16 : c[3]];
      const strong = (c: Rgba, share: number): number[] => [c[0], c[1], c[2], c[3] * share];
      const e: number[] = [];
      for (const edge of scene.edges) {
        const wide = edge.id === selected || edge.found;
        e.push(...edge.curve, ...strong(now.tones[edge.tone], edge.strength), widths[edge.tone] * (wide ? 1.7 : 1), patterns[edge.tone]);
      }
      fill(edges, e, 14);
      arrows.count = edges.count;
      const n: number[] = [];
      for (const node of scene.nodes) {
        const tone = now.tones[node.tone];
        const ring = node.tone === "idle" ? 1 : node.tone === "failure" ? 2 : 0;
        n.push(node.x, node.y, node.r, node.r, ...mix(now.surface, tone, node.tone === "failure" || node.tone === "degraded" ? 0.16 : 0.06, node.dim),
          ...fade(tone, node.dim), shapes[node.shape], 2.2, ring, node.key === selected || node.found ? 1 : 0);
      }
      fill(nodes, n, 16);
      const b: number[] = [];
      for (const box of scene.boxes) {
        b.push((box.left + box.right) / 2, (box.top + box.bottom) / 2, (box.right - box.left) / 2, (box.bottom - box.top) / 2, ...now.box, ...now.boxLine, BOX, box.kind === "cluster" ? 2 : 1, 0, 0);
      }
      fill(boxes, b, 16);
      const d: number[] = [];
      for (const dot of dotsOf(scene)) {
        const tone = dot.kind === 1 ? now.tones.failure : now.tones[dot.edge.tone === "failure" || dot.edge.tone === "degraded" ? healthyTone(dot.edge.edge.security?.mtls ?? 0) : dot.edge.tone];
        d.push(...dot.edge.curve, ...tone, dot.phase, dot.speed, dot.kind);
      }
      fill(dots, d, 15);
    },
    resize(width, height, ratio) {
      size = { width, height, ratio };
      canvas.width = Math.max(1, Math.round(width * ratio));
      canvas.height = Math.max(1, Math.round(height * ratio));
      gl.viewport(0, 0, canvas.width, canvas.height);
    },
    draw(camera, seconds, animate) {
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      paint(boxes, camera, gl.TRIANGLE_STRIP, 4);
      paint(edges, camera, gl.TRIANGLE_STRIP, (SEGMENTS + 1) * 2);
      paint(arrows, camera, gl.TRIANGLES, 3);
      if (animate) paint(dots, camera, gl.TRIANGLE_STRIP, 4, seconds);
      paint(nodes, camera, gl.TRIANGLE_STRIP, 4);
    },
    dispose() {
      gl.getExtension("WEBGL_lose_context")?.loseContext();
    },
  };
}

const healthyTone = (mtls: number): "mtls" | "plain" => (mtls >= 0.5 ? "mtls" : "plain");

function mix(a: Rgba, b: Rgba, share: number, dim: boolean): number[] {
  return [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share, dim ? 0.5 : 1];
}

const quad = new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]);

function strip(): Float32Array {
  const data: number[] = [];
  for (let i = 0; i <= SEGMENTS; i++) data.push(i / SEGMENTS, -1, i / SEGMENTS, 1);
  return new Float32Array(data);
}

function prepare(gl: WebGL2RenderingContext, vertex: string, fragment: string, shape: Float32Array, per: number, parts: number[], shared?: WebGLBuffer): Draw {
  const program = gl.createProgram()!;
  for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]] as const) {
    const shader = gl.createShader(type)!;
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader) ?? "shader");
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) ?? "program");
  const vao = gl.createVertexArray()!;
  gl.bindVertexArray(vao);
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ARRAY_BUFFER, shape, gl.STATIC_DRAW);
  gl.enableVertexAttribArray(0);
  gl.vertexAttribPointer(0, per, gl.FLOAT, false, 0, 0);
  const instances = shared ?? gl.createBuffer()!;
  gl.bindBuffer(gl.ARRAY_BUFFER, instances);
  const stride = parts.reduce((a, b) => a + b, 0) * 4;
  let offset = 0;
  parts.forEach((floats, i) => {
    gl.enableVertexAttribArray(i + 1);
    gl.vertexAttribPointer(i + 1, floats, gl.FLOAT, false, stride, offset);
    gl.vertexAttribDivisor(i + 1, 1);
    offset += floats * 4;
  });
  gl.bindVertexArray(null);
  const uniforms = Object.fromEntries(["u_camera", "u_size", "u_ratio", "u_time", "u_accent", "u_ground"].map((n) => [n, gl.getUniformLocation(program, n)]));
  return { program, vao, instances, count: 0, uniforms };
}
