// Surfaces by WebGL. Made of meshes with positions, normals, triangles, color (0 to 1) and opacity.

const VERTEX = `#version 300 es
in vec3 position; in vec3 normal;
uniform mat3 axes; uniform vec3 centre; uniform vec3 scale; uniform vec2 shift;
out vec3 facing;
void main() {
  vec3 seen = axes * (position - centre);
  facing = axes * normal;
  gl_Position = vec4(seen.xy * scale.xy + shift, -seen.z * scale.z, 1.0);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec3 facing; uniform vec3 color; uniform float opacity; out vec4 pixel;
void main() {
  vec3 n = normalize(facing);
  float lit = max(0.0, dot(n, normalize(vec3(-0.35, 0.45, 0.85))));
  float shine = pow(max(0.0, dot(n, normalize(vec3(-0.18, 0.24, 0.95)))), 40.0);
  float edge = opacity < 1.0 ? opacity + (1.0 - opacity) * 0.45 * pow(1.0 - max(0.0, n.z), 2.0) : 1.0;
  pixel = vec4((color * (0.28 + 0.8 * lit) + 0.16 * shine) * edge, edge);
}`;

const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;

/** Null where the browser has no WebGL 2, or has it in software alone, which is many times slower than Raster. */
export function makeShader(quick = true) {
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2", { antialias: true, alpha: true, premultipliedAlpha: true });
  if (gl && quick && SOFTWARE.test(drivenBy(gl))) {
    gl.getExtension("WEBGL_lose_context")?.loseContext();
    return null;
  }
  return gl ? new Shader(canvas, gl) : null;
}

/** Name of what draws, as the driver gives it. */
function drivenBy(gl) {
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  return String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
}

class Shader {
  constructor(canvas, gl) {
    Object.assign(this, { canvas, gl, held: new Map() });
    this.kind = "webgl";
    this.program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(this.program, shader);
    }
    gl.linkProgram(this.program);
    if (!gl.getProgramParameter(this.program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(this.program) ?? "WebGL");
  }

  /** @param view `{ right, up, toward, centre, radius, scale, x, y }`: pixels per mm and where the centre lies. */
  render(meshes, view, width, height) {
    const { gl, canvas } = this;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.depthMask(true);
    gl.colorMask(true, true, true, true);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.CULL_FACE);
    gl.useProgram(this.program);
    const { right, up, toward } = view;
    const at = (name) => gl.getUniformLocation(this.program, name);
    gl.uniformMatrix3fv(at("axes"), false, [0, 1, 2].flatMap((n) => [right[n], up[n], toward[n]]));
    gl.uniform3fv(at("centre"), view.centre);
    gl.uniform3f(at("scale"), (2 * view.scale) / width, (2 * view.scale) / height, 1 / (1.1 * view.radius));
    gl.uniform2f(at("shift"), (2 * view.x) / width - 1, 1 - (2 * view.y) / height);
    for (const mesh of meshes) {
      gl.bindVertexArray(this.buffers(mesh));
      gl.uniform3fv(at("color"), mesh.color);
      gl.uniform1f(at("opacity"), mesh.opacity);
      const draw = () => gl.drawElements(gl.TRIANGLES, mesh.triangles.length, gl.UNSIGNED_INT, 0);
      gl.disable(gl.BLEND);
      gl.depthFunc(gl.LESS);
      if (mesh.opacity < 1) {
        gl.colorMask(false, false, false, false); // its nearest face alone is blended
        draw();
        gl.colorMask(true, true, true, true);
        gl.enable(gl.BLEND);
        gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
        gl.depthFunc(gl.EQUAL);
      }
      draw();
    }
    return canvas;
  }

  buffers(mesh) {
    if (!this.held.has(mesh.key)) {
      const { gl } = this;
      const array = gl.createVertexArray();
      gl.bindVertexArray(array);
      for (const name of ["position", "normal"]) {
        gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
        gl.bufferData(gl.ARRAY_BUFFER, mesh[`${name}s`], gl.STATIC_DRAW);
        const place = gl.getAttribLocation(this.program, name);
        gl.enableVertexAttribArray(place);
        gl.vertexAttribPointer(place, 3, gl.FLOAT, false, 0, 0);
      }
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, mesh.triangles, gl.STATIC_DRAW);
      this.held.set(mesh.key, array);
    }
    return this.held.get(mesh.key);
  }

  /** Gives the graphics memory back; a browser has few contexts. */
  end() {
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}
