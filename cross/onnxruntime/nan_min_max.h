// min and max of two arrays where a NaN wins: ONNX Runtime calls them as members of an array, Eigen 3.4.0
// has the operations but no such members. Eigen includes this file inside its class ArrayBase.
#define EIR_NAN_MEMBER(name)                                                                     \
  template <int NaNs, typename Other>                                                            \
  EIGEN_DEVICE_FUNC EIGEN_STRONG_INLINE auto name(const ArrayBase<Other>& other) const {         \
    using Operation = internal::scalar_##name##_op<Scalar, typename Other::Scalar, NaNs>;        \
    return CwiseBinaryOp<Operation, const Derived, const Other>(derived(), other.derived());     \
  }                                                                                              \
  template <int NaNs>                                                                            \
  EIGEN_DEVICE_FUNC EIGEN_STRONG_INLINE auto name(const Scalar& other) const {                   \
    return this->template name<NaNs>(Derived::PlainObject::Constant(rows(), cols(), other));     \
  }
EIR_NAN_MEMBER(min)
EIR_NAN_MEMBER(max)
#undef EIR_NAN_MEMBER
