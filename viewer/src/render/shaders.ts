// The projection and blending are those of the program's rasteriser (docs/viewer.md), so that the page shows what
// `eg4d render` shows.

export const TEXTURE_WIDTH = 2048;
export const STILL_BLOCKS = 3;
export const POSE_BLOCKS = 4;
export const HARMONIC_BLOCKS = 12;

// Attributes lie in textures of whole numbers, one block of rows for each four of them:
//   still      position xyz, opacity | degree 0 rgb, gain | bias rgb
//   poses      position xyz, gain | log scale xyz, opacity | quaternion wxyz | bias rgb     a layer for each moment
//   harmonics  twelve blocks for degrees 1 to 3, coefficient by coefficient, rgb
export const SPLAT_VERTEX = `#version 300 es
precision highp float;
precision highp int;
precision highp isampler2D;
precision highp isampler2DArray;

uniform isampler2D u_still, u_harmonics;
uniform isampler2DArray u_poses;
uniform int u_rows;
uniform ivec2 u_layers;
uniform float u_share;
uniform bool u_own;
uniform int u_degree, u_mode;
uniform vec3 u_origin;
uniform float u_position_step, u_scale_step, u_quaternion_step, u_opacity_step, u_dc_step, u_color_step;
uniform vec3 u_harmonic_steps;
uniform vec3 u_camera, u_right, u_down, u_forward;
uniform vec2 u_focal, u_center, u_size, u_tangent_limit;
uniform float u_point_radius;

in uint a_index;
out vec2 v_offset;
flat out vec4 v_color;

const float kLeastAlpha = 1.0 / 255.0;

ivec4 still(int i, int block) {
  return texelFetch(u_still, ivec2(i & ${TEXTURE_WIDTH - 1}, (i >> 11) + block * u_rows), 0);
}
vec4 pose(int i, int block) {
  ivec2 at = ivec2(i & ${TEXTURE_WIDTH - 1}, (i >> 11) + block * u_rows);
  vec4 a = vec4(texelFetch(u_poses, ivec3(at, u_layers.x), 0));
  return u_share == 0.0 ? a : mix(a, vec4(texelFetch(u_poses, ivec3(at, u_layers.y), 0)), u_share);
}

ivec4 g_texel;
int g_block = -1;
vec3 harmonic(int i, int k) { // coefficient k from 1 on: whole numbers 3(k-1) to 3(k-1)+2 of the twelve blocks
  vec3 value;
  for (int c = 0; c < 3; ++c) {
    int place = 3 * (k - 1) + c;
    if (place >> 2 != g_block) {
      g_block = place >> 2;
      g_texel = texelFetch(u_harmonics, ivec2(i & ${TEXTURE_WIDTH - 1}, (i >> 11) + g_block * u_rows), 0);
    }
    value[c] = float(g_texel[place & 3]);
  }
  return value;
}

vec3 harmonics(int i, vec3 d) {
  vec3 sum = vec3(0.0);
  if (u_degree < 1) return sum;
  sum += u_harmonic_steps.x * 0.4886025119029199 *
         (-d.y * harmonic(i, 1) + d.z * harmonic(i, 2) - d.x * harmonic(i, 3));
  if (u_degree < 2) return sum;
  float xx = d.x * d.x, yy = d.y * d.y, zz = d.z * d.z, xy = d.x * d.y, yz = d.y * d.z, xz = d.x * d.z;
  vec3 second = 1.0925484305920792 * xy * harmonic(i, 4);
  second += -1.0925484305920792 * yz * harmonic(i, 5);
  second += 0.31539156525252005 * (2.0 * zz - xx - yy) * harmonic(i, 6);
  second += -1.0925484305920792 * xz * harmonic(i, 7);
  second += 0.5462742152960396 * (xx - yy) * harmonic(i, 8);
  sum += u_harmonic_steps.y * second;
  if (u_degree < 3) return sum;
  vec3 third = -0.5900435899266435 * d.y * (3.0 * xx - yy) * harmonic(i, 9);
  third += 2.890611442640554 * xy * d.z * harmonic(i, 10);
  third += -0.4570457994644658 * d.y * (4.0 * zz - xx - yy) * harmonic(i, 11);
  third += 0.3731763325901154 * d.z * (2.0 * zz - 3.0 * xx - 3.0 * yy) * harmonic(i, 12);
  third += -0.4570457994644658 * d.x * (4.0 * zz - xx - yy) * harmonic(i, 13);
  third += 1.445305721320277 * d.z * (xx - yy) * harmonic(i, 14);
  third += -0.5900435899266435 * d.x * (xx - 3.0 * yy) * harmonic(i, 15);
  return sum + u_harmonic_steps.z * third;
}

mat3 rotation_of(vec4 q) { // w, x, y, z
  float w = q.x, x = q.y, y = q.z, z = q.w;
  return mat3(1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
              2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
              2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));
}

vec3 color_of(int i, vec4 gain_bias) {
  ivec4 first = still(i, 0);
  vec3 direction = normalize(u_origin + u_position_step * vec3(first.xyz) - u_camera);
  vec3 sum = 0.28209479177387814 * u_dc_step * vec3(still(i, 1).rgb) + harmonics(i, direction);
  return max(sum * (1.0 + gain_bias.x) + gain_bias.yzw + 0.5, 0.0);
}

void main() {
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0); // outside
  int i = int(a_index);
  vec4 first = pose(i, 0), second = pose(i, 1);
  float opacity = u_opacity_step * (u_own ? second.w : float(still(i, 0).w));
  if (opacity < kLeastAlpha) return;

  vec3 offset = u_origin + u_position_step * first.xyz - u_camera;
  vec3 mean = vec3(dot(u_right, offset), dot(u_down, offset), dot(u_forward, offset));
  vec2 tangent = mean.xy / mean.z;
  vec2 center = u_focal * tangent + u_center;
  vec2 clamped = clamp(tangent, -u_tangent_limit, u_tangent_limit);

  // The 2D covariance: what the local affine approximation of the projection makes of R·diag(scale).
  mat3 turned = rotation_of(normalize(pose(i, 2)));
  vec3 scale = exp(u_scale_step * second.xyz);
  mat3 axes = mat3(turned[0] * scale.x, turned[1] * scale.y, turned[2] * scale.z);
  vec3 t0 = (u_right - clamped.x * u_forward) * (u_focal.x / mean.z) * axes;
  vec3 t1 = (u_down - clamped.y * u_forward) * (u_focal.y / mean.z) * axes;
  float xx = dot(t0, t0) + 0.3, xy = dot(t0, t1), yy = dot(t1, t1) + 0.3;

  // Its ellipse, as far as alpha reaches 1/255.
  float middle = 0.5 * (xx + yy), spread = length(vec2(0.5 * (xx - yy), xy));
  float large = middle + spread, small = max(middle - spread, 1e-6);
  vec2 axis = spread < 1e-6 ? vec2(1.0, 0.0) : normalize(abs(xx - small) > abs(xy) ? vec2(xx - small, xy) : vec2(xy, yy - small));
  float reach = sqrt(2.0 * log(opacity / kLeastAlpha));
  vec2 corner = vec2((gl_VertexID & 1) * 2 - 1, (gl_VertexID >> 1) * 2 - 1);
  v_offset = reach * corner;
  vec2 shift = v_offset.x * sqrt(large) * axis + v_offset.y * sqrt(small) * vec2(-axis.y, axis.x);
  if (u_mode == 1) {
    v_offset = corner;
    shift = corner * u_point_radius;
  }
  vec2 bound = reach * sqrt(vec2(xx, yy));
  if (any(lessThan(center + bound, vec2(0.0))) || any(greaterThan(center - bound, u_size))) return;

  vec4 gain_bias;
  if (u_own) gain_bias = vec4(first.w, pose(i, 3).rgb);
  else gain_bias = vec4(still(i, 1).w, still(i, 2).rgb);
  v_color = vec4(u_mode == 2 ? vec3(mean.z) : color_of(i, u_color_step * gain_bias), opacity);
  vec2 pixel = center + shift;
  gl_Position = vec4(2.0 * pixel.x / u_size.x - 1.0, 1.0 - 2.0 * pixel.y / u_size.y, 0.0, 1.0);
}`;

export const SPLAT_FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
uniform int u_mode;
in vec2 v_offset;
flat in vec4 v_color;
out vec4 o_color;

void main() {
  float square = dot(v_offset, v_offset);
  float alpha = min(0.99, v_color.a * exp(-0.5 * square));
  if (u_mode == 1) {
    if (square > 1.0) discard;
    alpha = 1.0;
  } else if (alpha < 1.0 / 255.0) {
    discard;
  }
  o_color = vec4(v_color.rgb * alpha, alpha); // front to back: the target's alpha is what is covered already
}`;

export const COMPOSE_VERTEX = `#version 300 es
void main() {
  gl_Position = vec4(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0, 0.0, 1.0);
}`;

export const enum Shown {
  color = 0,
  depth = 1,
  alpha = 2,
}
export const enum Compared {
  nothing = 0,
  wipe = 1,
  blend = 2,
  error = 3,
}

export const COMPOSE_FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
uniform highp sampler2D u_splats, u_truth;
uniform vec2 u_size;
uniform int u_shown, u_compared;
uniform float u_amount; // of the wipe or blend
uniform vec4 u_frame; // of the truth: left, top, width, height
uniform vec3 u_background, u_truth_background, u_checker;
uniform float u_checker_size;
uniform vec2 u_depths;
uniform bool u_transparent;
out vec4 o_color;

vec3 gradient(float x) { // dark blue, violet, orange, light yellow
  x = clamp(x, 0.0, 1.0) * 4.0;
  vec3 stops[5] = vec3[5](vec3(0.02, 0.02, 0.07), vec3(0.32, 0.08, 0.42), vec3(0.76, 0.22, 0.33), vec3(0.98, 0.58, 0.16),
                          vec3(0.99, 0.98, 0.75));
  int i = min(int(x), 3);
  return mix(stops[i], stops[i + 1], x - float(i));
}

void main() {
  vec2 pixel = vec2(gl_FragCoord.x, u_size.y - gl_FragCoord.y); // from the top
  vec4 splats = texelFetch(u_splats, ivec2(gl_FragCoord.xy), 0);
  float covered = clamp(splats.a, 0.0, 1.0);
  vec3 background = u_background;
  if (u_checker_size > 0.0) {
    vec2 cell = floor(pixel / u_checker_size);
    if (mod(cell.x + cell.y, 2.0) > 0.5) background = u_checker;
  }
  vec3 color = clamp(splats.rgb + (1.0 - covered) * background, 0.0, 1.0);
  o_color = vec4(color, 1.0);
  if (u_shown == ${Shown.depth}) {
    float depth = splats.r / max(splats.a, 1e-3);
    vec3 shown = gradient(1.0 - 0.85 * clamp((depth - u_depths.x) / max(u_depths.y - u_depths.x, 1e-6), 0.0, 1.0));
    o_color.rgb = mix(background, shown, smoothstep(0.3, 0.7, covered));
  } else if (u_shown == ${Shown.alpha}) {
    o_color.rgb = vec3(covered);
  } else if (u_transparent) {
    o_color = vec4(covered > 0.0 ? clamp(splats.rgb / covered, 0.0, 1.0) : vec3(0.0), covered);
  }
  if (u_compared == ${Compared.nothing}) return;
  vec2 place = (pixel - u_frame.xy) / u_frame.zw;
  if (any(lessThan(place, vec2(0.0))) || any(greaterThanEqual(place, vec2(1.0)))) {
    o_color.rgb = mix(o_color.rgb, background, 0.65);
    return;
  }
  vec3 truth = texture(u_truth, place).rgb;
  if (u_compared == ${Compared.wipe}) {
    float line = abs(place.x - u_amount) * u_frame.z;
    if (place.x < u_amount) o_color.rgb = truth;
    if (line < 2.0) o_color.rgb = vec3(line < 1.0 ? 1.0 : 0.25);
  } else if (u_compared == ${Compared.blend}) {
    o_color.rgb = mix(o_color.rgb, truth, u_amount);
  } else {
    vec3 seen = clamp(splats.rgb + (1.0 - covered) * u_truth_background, 0.0, 1.0);
    vec3 difference = abs(seen - truth);
    o_color.rgb = gradient(4.0 * (difference.r + difference.g + difference.b) / 3.0);
  }
}`;
