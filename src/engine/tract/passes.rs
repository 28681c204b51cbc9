//! What tract 0.23 leaves slow, put right between its own passes.

use tract_onnx::prelude::{Datum, TractResult, TypedModel, TypedModelPatch, TypedNode, tvec};
use tract_onnx::tract_core::internal::{AxisOp, Rewriter, TypedOp};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::change_axes::IntoShape;
use tract_onnx::tract_core::ops::cnn::conv::Conv;
use tract_onnx::tract_core::ops::matmul::optimized::OptMatMul;
use tract_onnx::tract_core::ops::nn::Softmax;

/// As `into_optimized`, with the passes of this file in between.
pub(super) fn optimized(mut model: TypedModel) -> TractResult<TypedModel> {
    model.declutter()?;
    Rewriter::default()
        .with_rule_for::<Conv>("lower", |&(), model, node, _, conv| lower(model, node, conv))
        .rewrite(&(), &mut model)?;
    Rewriter::default()
        .with_rule_for::<OptMatMul>("absorb", |&(), model, node, _, op| absorb(model, node, op))
        .rewrite(&(), &mut model)?;
    model.optimize()?;
    Rewriter::default()
        .with_rule_for::<Softmax>("turn", |&(), model, node, _, op| turn(model, node, op))
        .rewrite(&(), &mut model)?;
    Ok(model)
}

type Patch = TractResult<Option<TypedModelPatch>>;

/// Lowers a convolution before what follows it: tract's matrix product takes over a limit behind the
/// reshape to height and width, but only as long as that limit is not lowered itself.
fn lower(model: &TypedModel, node: &TypedNode, conv: &Conv) -> Patch {
    if conv.q_params.is_some() { Ok(None) } else { conv.codegen(model, node) }
}

/// Lets a matrix product take over the operator that follows it or its reshape.
fn absorb(model: &TypedModel, node: &TypedNode, product: &OptMatMul) -> Patch {
    let mut next = model.single_succ(node.id)?;
    if let Some(shape) = next.filter(|next| next.op_is::<AxisOp>() || next.op_is::<IntoShape>()) {
        next = model.single_succ(shape.id)?;
    }
    if next.is_some_and(TypedNode::op_is::<TypedBinOp>) {
        product.fuse(model, node)
    } else {
        Ok(None)
    }
}

/// Moves the axis of a softmax to the end, the only place where tract computes it with vectors.
fn turn(model: &TypedModel, node: &TypedNode, softmax: &Softmax) -> Patch {
    let fact = model.outlet_fact(node.inputs[0])?;
    let last = fact.rank().saturating_sub(1);
    let [axis] = *softmax.axes else { return Ok(None) };
    if axis >= last || fact.datum_type != f32::datum_type() {
        return Ok(None);
    }
    let name = &node.name;
    let mut patch = TypedModelPatch::default();
    let wire = patch.taps(model, &node.inputs)?;
    let wire = patch.wire_node(format!("{name}.turned"), AxisOp::Move(axis, last), &wire)?;
    let op = Softmax { axes: tvec!(last), ..softmax.clone() };
    let wire = patch.wire_node(name, op, &wire)?;
    let wire = patch.wire_node(format!("{name}.back"), AxisOp::Move(last, axis), &wire)?;
    patch.shunt_outside(model, node.id.into(), wire[0])?;
    Ok(Some(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::prelude::{IntoRunnable, IntoTValue, TValue, Tensor};
    use tract_onnx::tract_core::internal::{Approximation, DatumExt, SpecialOps};
    use tract_onnx::tract_core::ops::cnn::{KernelFormat, PaddingSpec, PoolSpec};
    use tract_onnx::tract_core::ops::math::{max, min};
    use tract_onnx::tract_core::ops::nn::DataFormat;

    fn numbers(shape: &[usize], step: f32) -> Tensor {
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|i: usize| (i as f32 * step).sin()).collect();
        Tensor::from_shape(shape, &values).expect("as many as the shape says")
    }

    /// A convolution, its limits, and a softmax over the channels.
    fn model() -> TractResult<TypedModel> {
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([1, 3, 9, 8]))?;
        let w = model.add_const("w", numbers(&[6, 3, 3, 3], 0.7))?;
        let b = model.add_const("b", numbers(&[6], 1.3))?;
        let pool_spec = PoolSpec {
            data_format: DataFormat::NCHW,
            kernel_shape: tvec!(3, 3),
            padding: PaddingSpec::Explicit(tvec!(1, 1), tvec!(1, 1)),
            dilations: None,
            strides: None,
            input_channels: 3,
            output_channels: 6,
        };
        let conv = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group: 1, q_params: None };
        let wire = model.wire_node("conv", conv, &[x, w, b])?;
        let low = model.add_const("low", Tensor::from_shape(&[1, 1, 1, 1], &[0_f32])?)?;
        let high = model.add_const("high", Tensor::from_shape(&[1, 1, 1, 1], &[1.5_f32])?)?;
        let wire = model.wire_node("max", max(), &[wire[0], low])?;
        let wire = model.wire_node("min", min(), &[wire[0], high])?;
        let softmax = Softmax { axes: tvec!(1), ..Softmax::default() };
        let wire = model.wire_node("softmax", softmax, &wire)?;
        model.select_output_outlets(&wire)?;
        Ok(model)
    }

    fn run(model: TypedModel) -> TractResult<TValue> {
        let x = numbers(&[1, 3, 9, 8], 0.37).into_tvalue();
        Ok(model.into_runnable()?.run(tvec!(x))?.remove(0))
    }

    #[test]
    fn limits_are_a_part_of_the_product_and_the_softmax_is_over_the_last_axis() {
        let ours = optimized(model().expect("model")).expect("optimized");
        for node in &ours.nodes {
            let name = node.op.name();
            assert!(!name.contains("Max+") && !name.contains("Min"), "{name} is on its own");
            if let Some(softmax) = node.op_as::<Softmax>() {
                let rank = node.outputs[0].fact.rank();
                assert_eq!(*softmax.axes, [rank - 1]);
            }
        }
        assert!(ours.nodes.iter().any(TypedNode::op_is::<Softmax>));
        let theirs = model().and_then(TypedModel::into_optimized).expect("optimized");
        let (ours, theirs) = (run(ours).expect("run"), run(theirs).expect("run"));
        ours.close_enough(&theirs, Approximation::Close).expect("the same answer");
    }
}
