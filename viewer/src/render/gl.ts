// WebGL2 in short.

export type GL = WebGL2RenderingContext;

export class GlError extends Error {}

export class Program {
  readonly handle: WebGLProgram;
  private readonly places = new Map<string, WebGLUniformLocation | null>();

  constructor(private readonly gl: GL, vertex: string, fragment: string) {
    this.handle = gl.createProgram();
    for (const [type, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]] as const) {
      const shader = gl.createShader(type)!;
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(this.handle, shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost())
        throw new GlError(`The graphics driver refuses a shader: ${gl.getShaderInfoLog(shader)}`);
    }
    gl.linkProgram(this.handle);
    if (!gl.getProgramParameter(this.handle, gl.LINK_STATUS) && !gl.isContextLost())
      throw new GlError(`The graphics driver refuses a shader: ${gl.getProgramInfoLog(this.handle)}`);
  }

  use(): void {
    this.gl.useProgram(this.handle);
  }
  private at(name: string): WebGLUniformLocation | null {
    let place = this.places.get(name);
    if (place === undefined) this.places.set(name, (place = this.gl.getUniformLocation(this.handle, name)));
    return place;
  }
  float(name: string, ...values: number[]): void {
    const { gl } = this;
    const at = this.at(name);
    if (values.length === 1) gl.uniform1f(at, values[0]!);
    else if (values.length === 2) gl.uniform2f(at, values[0]!, values[1]!);
    else if (values.length === 3) gl.uniform3f(at, values[0]!, values[1]!, values[2]!);
    else gl.uniform4f(at, values[0]!, values[1]!, values[2]!, values[3]!);
  }
  int(name: string, ...values: number[]): void {
    const at = this.at(name);
    if (values.length === 1) this.gl.uniform1i(at, values[0]!);
    else this.gl.uniform2i(at, values[0]!, values[1]!);
  }
  texture(name: string, unit: number, target: number, texture: WebGLTexture): void {
    this.gl.activeTexture(this.gl.TEXTURE0 + unit);
    this.gl.bindTexture(target, texture);
    this.gl.uniform1i(this.at(name), unit);
  }
}

// A texture that is read texel by texel.
export function plainTexture(gl: GL, target: number): WebGLTexture {
  const texture = gl.createTexture();
  gl.bindTexture(target, texture);
  gl.texParameteri(target, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(target, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  gl.texParameteri(target, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(target, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  return texture;
}

// A picture to draw into; it takes the size that is asked for last.
export class Target {
  readonly texture: WebGLTexture;
  private readonly frame: WebGLFramebuffer;
  width = 0;
  height = 0;

  constructor(private readonly gl: GL, private readonly format: number) {
    this.texture = plainTexture(gl, gl.TEXTURE_2D);
    this.frame = gl.createFramebuffer();
  }

  bind(width: number, height: number): void {
    const { gl } = this;
    if (width !== this.width || height !== this.height) {
      const isHalf = this.format === gl.RGBA16F;
      gl.bindTexture(gl.TEXTURE_2D, this.texture);
      gl.texImage2D(gl.TEXTURE_2D, 0, this.format, width, height, 0, gl.RGBA, isHalf ? gl.HALF_FLOAT : gl.UNSIGNED_BYTE, null);
      this.width = width;
      this.height = height;
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.texture, 0);
    gl.viewport(0, 0, width, height);
  }
}
