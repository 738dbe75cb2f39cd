// From Gaussians in the world to their ellipses in the image: what both directions of the projection compute
// alike, on every device and to the bit. Included in a namespace that has, in Highway's words:
// V, a float of every Gaussian that is worked on (a vector's lanes on the processor, one a thread on a GPU),
// and M, a truth of each; Add, Sub, Mul, Div, Neg, Abs, Min, Max, Le; MulAdd (a·b + c) and NegMulAdd (c -
// a·b), rounded once, where nothing else may be contracted; set(float); Vector3 of V with dot and scaled;
// Quaternion; EG4D_OF_GAUSSIANS, what stands before a function.

constexpr float kLowPass = 0.3f, kTangentMargin = 1.3f, kClipGuard = 1e-7f;

// Column k of the first three rows of a row-major 4×4 matrix, times a.
EG4D_OF_GAUSSIANS V column(const Vector3& a, const float* m, int k) {
  return MulAdd(a.x, set(m[k]), MulAdd(a.y, set(m[4 + k]), Mul(a.z, set(m[8 + k]))));
}

// Symmetric 3×3 matrix.
struct Symmetric3 {
  V xx, xy, xz, yy, yz, zz;
};
EG4D_OF_GAUSSIANS Vector3 operator*(const Symmetric3& s, const Vector3& v) {
  return {dot({s.xx, s.xy, s.xz}, v), dot({s.xy, s.yy, s.yz}, v), dot({s.xz, s.yz, s.zz}, v)};
}

struct Symmetric2 {
  V xx, xy, yy;
  EG4D_OF_GAUSSIANS V determinant() const { return NegMulAdd(xy, xy, Mul(xx, yy)); }
};

// Columns of the rotation matrix of (w,x,y,z).
struct Rotation {
  Vector3 column[3];
};
EG4D_OF_GAUSSIANS Rotation rotation_of(const Quaternion& q) {
  const V one = set(1), two = set(2);
  const V xx = Mul(q.x, q.x), yy = Mul(q.y, q.y), zz = Mul(q.z, q.z);
  const V xy = Mul(q.x, q.y), xz = Mul(q.x, q.z), yz = Mul(q.y, q.z);
  const V wx = Mul(q.w, q.x), wy = Mul(q.w, q.y), wz = Mul(q.w, q.z);
  return {{{NegMulAdd(two, Add(yy, zz), one), Mul(two, Add(xy, wz)), Mul(two, Sub(xz, wy))},
           {Mul(two, Sub(xy, wz)), NegMulAdd(two, Add(xx, zz), one), Mul(two, Add(yz, wx))},
           {Mul(two, Add(xz, wy)), Mul(two, Sub(yz, wx)), NegMulAdd(two, Add(xx, yy), one)}}};
}

// Σ = M·Mᵀ, M = R·diag(scale).
EG4D_OF_GAUSSIANS Symmetric3 covariance_of(const Rotation& r, const Vector3& scale) {
  const Vector3 a = scaled(r.column[0], scale.x), b = scaled(r.column[1], scale.y),
                c = scaled(r.column[2], scale.z);
  const Vector3 x{a.x, b.x, c.x}, y{a.y, b.y, c.y}, z{a.z, b.z, c.z};
  return {dot(x, x), dot(x, y), dot(x, z), dot(y, y), dot(y, z), dot(z, z)};
}

// The mean in view space and the local affine approximation of the projection there.
struct View {
  Vector3 mean;
  V inverse_z;
  V tangent_x, tangent_y;  // clamped
  M free_x, free_y;        // not clamped
  Vector3 t0, t1;          // rows of jacobian · rotation
  V focal_x, focal_y;
};
EG4D_OF_GAUSSIANS View view_of(const RasterizeCamera& camera, int width, int height, const Vector3& mean) {
  const float* w = camera.world_to_view;
  View v;
  v.mean = {Add(column(mean, w, 0), set(w[12])), Add(column(mean, w, 1), set(w[13])),
            Add(column(mean, w, 2), set(w[14]))};
  v.inverse_z = Div(set(1), v.mean.z);
  v.focal_x = set(static_cast<float>(width) / (2 * camera.tan_fov_x));
  v.focal_y = set(static_cast<float>(height) / (2 * camera.tan_fov_y));
  const V limit_x = set(kTangentMargin * camera.tan_fov_x), limit_y = set(kTangentMargin * camera.tan_fov_y);
  const V tangent_x = Mul(v.mean.x, v.inverse_z), tangent_y = Mul(v.mean.y, v.inverse_z);
  v.free_x = Le(Abs(tangent_x), limit_x);
  v.free_y = Le(Abs(tangent_y), limit_y);
  v.tangent_x = Min(Max(tangent_x, Neg(limit_x)), limit_x);
  v.tangent_y = Min(Max(tangent_y, Neg(limit_y)), limit_y);
  const V scale_x = Mul(v.focal_x, v.inverse_z), scale_y = Mul(v.focal_y, v.inverse_z);
  const Vector3 forward{set(w[2]), set(w[6]), set(w[10])};
  v.t0 = scaled({NegMulAdd(v.tangent_x, forward.x, set(w[0])), NegMulAdd(v.tangent_x, forward.y, set(w[4])),
                 NegMulAdd(v.tangent_x, forward.z, set(w[8]))},
                scale_x);
  v.t1 = scaled({NegMulAdd(v.tangent_y, forward.x, set(w[1])), NegMulAdd(v.tangent_y, forward.y, set(w[5])),
                 NegMulAdd(v.tangent_y, forward.z, set(w[9]))},
                scale_y);
  return v;
}

struct Clip {
  V x, y, inverse_w;
};
EG4D_OF_GAUSSIANS Clip clip_of(const RasterizeCamera& camera, const Vector3& mean) {
  const float* m = camera.full_projection;
  const V w = Add(column(mean, m, 3), set(m[15]));
  return {Add(column(mean, m, 0), set(m[12])), Add(column(mean, m, 1), set(m[13])),
          Div(set(1), Add(w, set(kClipGuard)))};
}

EG4D_OF_GAUSSIANS Symmetric2 covariance_2d(const View& v, const Symmetric3& s) {
  const Vector3 s0 = s * v.t0, s1 = s * v.t1;
  return {Add(dot(v.t0, s0), set(kLowPass)), dot(v.t0, s1), Add(dot(v.t1, s1), set(kLowPass))};
}

struct Shape {
  Rotation rotation;
  Vector3 scale;
  Quaternion quaternion;
  Symmetric3 covariance;
};
EG4D_OF_GAUSSIANS Shape shape_of(const Quaternion& quaternion, const Vector3& scale) {
  Shape shape;
  shape.quaternion = quaternion;
  shape.rotation = rotation_of(quaternion);
  shape.scale = scale;
  shape.covariance = covariance_of(shape.rotation, scale);
  return shape;
}
