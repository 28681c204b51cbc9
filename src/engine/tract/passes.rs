//! What tract 0.23 leaves slow, put right between its own passes.

use tract_onnx::prelude::{Datum, TractResult, TypedModel, TypedModelPatch, TypedNode, tvec};
use tract_onnx::tract_core::internal::{AxisOp, Rewriter, TypedOp};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::change_axes::IntoShape;
use tract_onnx::tract_core::ops::cnn::conv::Conv;
use tract_onnx::tract_core::ops::matmul::optimized::OptMatMul;
use tract_onnx::tract_core::ops::nn::{DataFormat, Softmax};

/// As `into_optimized`, with the passes of this file in between.
pub(super) fn optimized(mut model: TypedModel) -> TractResult<TypedModel> {
    model.declutter()?;
    Rewriter::default()
        .with_rule_for::<Conv>("depthwise", |&(), model, node, _, conv| {
            depthwise(model, node, conv)
        })
        .rewrite(&(), &mut model)?;
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

/// Has a depthwise convolution work along the channels, of which there are many, and not along the rows, which are
/// short where most of them are. tract takes the channels to the end for its neighbours too, where it can, and has
/// them turned only where it cannot.
fn depthwise(model: &TypedModel, node: &TypedNode, conv: &Conv) -> Patch {
    let fact = model.outlet_fact(node.inputs[0])?;
    let pool = &conv.pool_spec;
    let is_depthwise = conv.group > 1
        && [pool.input_channels, pool.output_channels] == [conv.group; 2]
        && conv.q_params.is_none();
    let last_format = match pool.data_format {
        DataFormat::NCHW => DataFormat::NHWC,
        DataFormat::CHW => DataFormat::HWC,
        DataFormat::NHWC | DataFormat::HWC => return Ok(None),
    };
    if !is_depthwise || fact.datum_type != f32::datum_type() || fact.shape.as_concrete().is_none() {
        return Ok(None);
    }
    let (first, last) = (usize::from(pool.data_format.has_n()), fact.rank() - 1);
    let name = &node.name;
    let mut patch = TypedModelPatch::default();
    let mut wires = patch.taps(model, &node.inputs)?;
    let turn = AxisOp::Move(first, last);
    wires[0] = patch.wire_node(format!("{name}.turned"), turn, &wires[..1])?[0];
    let mut conv = conv.clone();
    conv.pool_spec.data_format = last_format;
    let wire = conv.wire_as_depth_wise(&mut patch, name, &wires)?;
    let back = AxisOp::Move(last, first);
    let wire = patch.wire_node(format!("{name}.back"), back, &[wire])?;
    patch.shunt_outside(model, node.id.into(), wire[0])?;
    Ok(Some(patch))
}

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
    use tract_onnx::prelude::{IntoRunnable, IntoTValue, OutletId, TValue, Tensor};
    use tract_onnx::tract_core::internal::{Approximation, DatumExt, SpecialOps};
    use tract_onnx::tract_core::ops::cnn::{KernelFormat, PaddingSpec, PoolSpec};
    use tract_onnx::tract_core::ops::math::{max, min};

    fn numbers(shape: &[usize], step: f32) -> Tensor {
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|i: usize| (i as f32 * step).sin()).collect();
        Tensor::from_shape(shape, &values).expect("as many as the shape says")
    }

    /// A convolution of 3 × 3, padded, in so many groups.
    fn convolution(
        model: &mut TypedModel,
        (name, input): (&str, OutletId),
        (channels, group, stride): ([usize; 2], usize, usize),
    ) -> TractResult<OutletId> {
        let [from, to] = channels;
        let w = model.add_const(format!("{name}.w"), numbers(&[to, from / group, 3, 3], 0.7))?;
        let b = model.add_const(format!("{name}.b"), numbers(&[to], 1.3))?;
        let pool_spec = PoolSpec {
            data_format: DataFormat::NCHW,
            kernel_shape: tvec!(3, 3),
            padding: PaddingSpec::Explicit(tvec!(1, 1), tvec!(1, 1)),
            dilations: None,
            strides: Some(tvec!(stride, stride)),
            input_channels: from,
            output_channels: to,
        };
        let conv = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group, q_params: None };
        Ok(model.wire_node(name, conv, &[input, w, b])?[0])
    }

    fn limited(model: &mut TypedModel, name: &str, input: OutletId) -> TractResult<OutletId> {
        let low = Tensor::from_shape(&[1, 1, 1, 1], &[0_f32])?;
        let high = Tensor::from_shape(&[1, 1, 1, 1], &[1.5_f32])?;
        let low = model.add_const(format!("{name}.low"), low)?;
        let high = model.add_const(format!("{name}.high"), high)?;
        let wire = model.wire_node(format!("{name}.max"), max(), &[input, low])?;
        Ok(model.wire_node(format!("{name}.min"), min(), &[wire[0], high])?[0])
    }

    /// Convolutions with their limits, depthwise ones among them, and a softmax over the channels.
    fn model() -> TractResult<TypedModel> {
        let mut model = TypedModel::default();
        let mut wire = model.add_source("x", f32::fact([1, 3, 9, 8]))?;
        for (name, shape) in [
            ("first", ([3, 6], 1, 1)),
            ("wide", ([6, 6], 6, 1)),
            ("half", ([6, 6], 6, 2)),
            ("last", ([6, 4], 1, 1)),
        ] {
            wire = convolution(&mut model, (name, wire), shape)?;
            wire = limited(&mut model, name, wire)?;
        }
        let softmax = Softmax { axes: tvec!(1), ..Softmax::default() };
        let wire = model.wire_node("softmax", softmax, &[wire])?;
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
        for product in ours.nodes.iter().filter(|node| node.op_is::<OptMatMul>()) {
            let mut next = ours.single_succ(product.id).expect("nodes");
            while let Some(shape) =
                next.filter(|next| next.op_is::<AxisOp>() || next.op_is::<IntoShape>())
            {
                next = ours.single_succ(shape.id).expect("nodes");
            }
            let name = next.map_or_else(String::new, |next| next.op.name().into_owned());
            assert!(!name.contains("Max") && !name.contains("Min"), "{name} is on its own");
        }
        let mut turned = ours.nodes.iter().filter_map(|node| {
            let softmax = node.op_as::<Softmax>()?;
            Some((softmax.axes.clone(), node.outputs[0].fact.rank() - 1))
        });
        assert!(turned.next().is_some_and(|(axes, last)| *axes == [last]));
        let theirs = model().and_then(TypedModel::into_optimized).expect("optimized");
        let (ours, theirs) = (run(ours).expect("run"), run(theirs).expect("run"));
        ours.close_enough(&theirs, Approximation::Close).expect("the same answer");
    }

    #[test]
    fn channels_are_turned_once_for_all_depthwise_convolutions_in_a_row() {
        let ours = optimized(model().expect("model")).expect("optimized");
        let depthwise = |node: &&TypedNode| node.op.name() == "DepthWiseConv";
        assert_eq!(ours.nodes.iter().filter(depthwise).count(), 2);
        for node in ours.nodes.iter().filter(depthwise) {
            let shape = node.outputs[0].fact.shape.as_concrete().expect("numbers");
            assert_eq!(shape.last(), Some(&6), "the channels are last: {shape:?}");
        }
        let moves = ours
            .nodes
            .iter()
            .filter(|node| matches!(node.op_as::<AxisOp>(), Some(AxisOp::Move(..))));
        let moves: Vec<_> = moves.map(|node| node.name.as_str()).collect();
        assert_eq!(moves[..2], ["wide.turned", "half.back"], "{moves:?}");
        assert!(moves[2..].iter().all(|name| name.starts_with("softmax")), "{moves:?}");
    }
}
