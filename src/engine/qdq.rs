//! The float form of a quantized model: Quantize and Dequantize pairs folded away at load.
//!
//! tract computes a quantized convolution in float with casts around it, slower than the plain float
//! model. The quantizer left everything that is needed to take its work back: constant weights behind
//! a `DequantizeLinear` become float weights, and an activation's pair becomes the range that its
//! integers could hold. That range matters where the zero point is the smallest integer: there the
//! quantizer folded a `Relu` or `Relu6` into the saturation, unless what comes is never negative anyway.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, attribute_proto::AttributeType,
    tensor_proto::DataType,
};

/// Operators after which a quantizer had nothing to fold: the smallest integer is the zero point because
/// what they give is never negative. A limit behind a `Sigmoid` would hide the `SiLU` that it is a part of.
const NEVER_NEGATIVE: [&str; 5] = ["Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax"];

/// Folds what can be folded in the outermost graph and says how many `DequantizeLinear` that were.
pub(super) fn fold(model: &mut ModelProto) -> usize {
    let own = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let opset = model.opset_import.iter().find(|set| own(&set.domain)).map_or(0, |set| set.version);
    let Some(graph) = &mut model.graph else { return 0 };
    let plan = Plan::make(graph);
    let folded = plan.weights.len() + plan.ranges.len();
    plan.carry_out(graph, opset);
    if folded > 0 {
        sweep(graph);
    }
    folded
}

/// What replaces which `DequantizeLinear`, by its place among the nodes.
struct Plan {
    weights: HashMap<usize, TensorProto>,
    ranges: HashMap<usize, Range>,
}

/// The value goes through as it is, or limited to what the integers could hold.
struct Range {
    source: String,
    limits: Option<(f32, f32)>,
}

impl Plan {
    fn make(graph: &GraphProto) -> Self {
        let constants = constants(graph);
        let quantizers: HashMap<&str, &NodeProto> = graph
            .node
            .iter()
            .filter(|node| node.op_type == "QuantizeLinear")
            .filter_map(|node| Some((node.output.first()?.as_str(), node)))
            .collect();
        let never_negative: HashSet<&str> = graph
            .node
            .iter()
            .filter(|node| NEVER_NEGATIVE.contains(&node.op_type.as_str()))
            .flat_map(|node| node.output.iter().map(String::as_str))
            .collect();
        let mut plan = Self { weights: HashMap::new(), ranges: HashMap::new() };
        for (index, node) in graph.node.iter().enumerate() {
            if node.op_type != "DequantizeLinear" || attribute(node, "block_size", 0) != 0 {
                continue;
            }
            let Some(input) = node.input.first() else { continue };
            if let Some(tensor) = constants.get(input.as_str()) {
                if let Some(weights) = weights(node, tensor, &constants) {
                    plan.weights.insert(index, weights);
                }
            } else if let Some(quantizer) = quantizers.get(input.as_str())
                && let Some(mut range) = range(quantizer, node, &constants)
            {
                range.limits = range.limits.filter(|_| !never_negative.contains(&*range.source));
                plan.ranges.insert(index, range);
            }
        }
        plan
    }

    fn carry_out(mut self, graph: &mut GraphProto, opset: i64) {
        let nodes = std::mem::take(&mut graph.node);
        for (index, node) in nodes.into_iter().enumerate() {
            if let Some(weights) = self.weights.remove(&index) {
                graph.initializer.push(weights);
            } else if let Some(range) = self.ranges.remove(&index) {
                let replacement = pass_through(node, range, opset, &mut graph.initializer);
                graph.node.push(replacement);
            } else {
                graph.node.push(node);
            }
        }
    }
}

/// `Identity` or `Clip` in the place of a `DequantizeLinear`, under its name.
fn pass_through(
    node: NodeProto,
    range: Range,
    opset: i64,
    initializers: &mut Vec<TensorProto>,
) -> NodeProto {
    let mut replacement = NodeProto {
        name: node.name,
        op_type: "Identity".into(),
        input: vec![range.source],
        output: node.output,
        ..NodeProto::default()
    };
    let Some((low, high)) = range.limits else { return replacement };
    replacement.op_type = "Clip".into();
    for (name, value) in [("min", low), ("max", high)] {
        if opset >= 11 {
            let constant = format!("{}/{name}", replacement.output[0]);
            replacement.input.push(constant.clone());
            initializers.push(floats_tensor(constant, &[], &[value]));
        } else {
            replacement.attribute.push(AttributeProto {
                name: name.into(),
                r#type: AttributeType::Float as i32,
                f: value,
                ..AttributeProto::default()
            });
        }
    }
    replacement
}

/// Removes quantizers and constants that nobody reads any more.
fn sweep(graph: &mut GraphProto) {
    let nested = graph
        .node
        .iter()
        .flat_map(|node| &node.attribute)
        .any(|attribute| attribute.g.is_some() || !attribute.graphs.is_empty());
    // A subgraph may read any name of the graph around it.
    if nested {
        return;
    }
    let outputs: HashSet<String> = graph.output.iter().map(|end| end.name.clone()).collect();
    let inputs: HashSet<String> = graph.input.iter().map(|end| end.name.clone()).collect();
    let read = |graph: &GraphProto| -> HashSet<String> {
        graph.node.iter().flat_map(|node| node.input.iter().cloned()).collect()
    };
    let still_read = read(graph);
    graph.node.retain(|node| {
        node.op_type != "QuantizeLinear"
            || node.output.iter().any(|o| still_read.contains(o) || outputs.contains(o))
    });
    let still_read = read(graph);
    graph.initializer.retain(|tensor| {
        let name = &tensor.name;
        still_read.contains(name) || outputs.contains(name) || inputs.contains(name)
    });
}

fn constants(graph: &GraphProto) -> HashMap<&str, &TensorProto> {
    let initializers = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor));
    let nodes = graph.node.iter().filter(|node| node.op_type == "Constant").filter_map(|node| {
        let value = node.attribute.iter().find(|attribute| attribute.name == "value")?;
        Some((node.output.first()?.as_str(), value.t.as_ref()?))
    });
    initializers.chain(nodes).collect()
}

/// `(q - zero point) × scale`, per tensor or along one axis.
fn weights(
    node: &NodeProto,
    tensor: &TensorProto,
    constants: &HashMap<&str, &TensorProto>,
) -> Option<TensorProto> {
    let (scale, zero) = parameters(node, constants)?;
    let values = numbers(tensor)?;
    let dims: Vec<usize> =
        tensor.dims.iter().map(|dim| usize::try_from(*dim).ok()).collect::<Option<_>>()?;
    if dims.iter().try_fold(1_usize, |n, d| n.checked_mul(*d)) != Some(values.len()) {
        return None;
    }
    let (along, inner) = if scale.len() == 1 {
        (1, values.len().max(1))
    } else {
        let rank = i64::try_from(dims.len()).ok()?;
        let axis = attribute(node, "axis", 1);
        let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()?;
        (*dims.get(axis)?, dims.get(axis + 1..)?.iter().product::<usize>().max(1))
    };
    if scale.len() != along || zero.len() != along {
        return None;
    }
    let float: Vec<f32> = values
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let channel = (index / inner) % along;
            (value - zero[channel]) * scale[channel]
        })
        .collect();
    Some(floats_tensor(node.output.first()?.clone(), &tensor.dims, &float))
}

/// What a pair lets through; none if the two do not take each other back.
fn range(
    quantizer: &NodeProto,
    node: &NodeProto,
    constants: &HashMap<&str, &TensorProto>,
) -> Option<Range> {
    let (scale, zero) = parameters(quantizer, constants)?;
    if parameters(node, constants)? != (scale.clone(), zero.clone()) {
        return None;
    }
    let ([scale], [zero]) = (scale.as_slice(), zero.as_slice()) else { return None };
    let dtype = match quantizer.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => DataType::try_from(constants.get(name.as_str())?.data_type).ok()?,
        None if attribute(quantizer, "output_dtype", 0) == 0 => DataType::Uint8,
        None => return None,
    };
    let (least, most) = match dtype {
        DataType::Uint8 => (0.0, 255.0),
        DataType::Int8 => (-128.0, 127.0),
        DataType::Uint16 => (0.0, 65_535.0),
        DataType::Int16 => (-32_768.0, 32_767.0),
        _ => return None,
    };
    // Integers of these types are exact in f32.
    #[expect(clippy::float_cmp, reason = "two whole numbers")]
    let limits = (*zero == least).then(|| (0.0, (most - zero) * scale));
    Some(Range { source: quantizer.input.first()?.clone(), limits })
}

/// Scales and zero points, as many as scales.
fn parameters(
    node: &NodeProto,
    constants: &HashMap<&str, &TensorProto>,
) -> Option<(Vec<f32>, Vec<f32>)> {
    let scale_tensor = constants.get(node.input.get(1)?.as_str())?;
    if scale_tensor.data_type != DataType::Float as i32 {
        return None;
    }
    let scale = numbers(scale_tensor)?;
    let zero = match node.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => numbers(constants.get(name.as_str())?)?,
        None => vec![0.0; scale.len()],
    };
    (!scale.is_empty() && scale.len() == zero.len()).then_some((scale, zero))
}

/// The elements as f32. Biases of 32 bits are rounded; they are multiplied by a scale anyway.
fn numbers(tensor: &TensorProto) -> Option<Vec<f32>> {
    let raw = &tensor.raw_data;
    let typed = || tensor.int32_data.iter().map(|value| *value as f32).collect();
    macro_rules! from_raw {
        ($type:ty, $convert:expr) => {
            if raw.is_empty() {
                typed()
            } else {
                let (values, rest) = raw.as_chunks::<{ size_of::<$type>() }>();
                if !rest.is_empty() {
                    return None;
                }
                values.iter().map(|bytes| $convert(<$type>::from_le_bytes(*bytes))).collect()
            }
        };
    }
    Some(match DataType::try_from(tensor.data_type).ok()? {
        DataType::Float if raw.is_empty() => tensor.float_data.clone(),
        DataType::Float => from_raw!(f32, |value| value),
        DataType::Uint8 => from_raw!(u8, f32::from),
        DataType::Int8 => from_raw!(i8, f32::from),
        DataType::Uint16 => from_raw!(u16, f32::from),
        DataType::Int16 => from_raw!(i16, f32::from),
        DataType::Int32 => from_raw!(i32, |value| value as f32),
        _ => return None,
    })
}

fn attribute(node: &NodeProto, name: &str, default: i64) -> i64 {
    node.attribute.iter().find(|attribute| attribute.name == name).map_or(default, |a| a.i)
}

fn floats_tensor(name: String, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name,
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::DType;
    use crate::package::graph::{Graph, f32s, i8s, u8s};

    /// x → Q → DQ → MatMul(weights per column) → Q → DQ → y
    fn quantized(zero: u8) -> ModelProto {
        Graph::new()
            .input("x", DType::F32, &[Some(1), Some(2)])
            .constant("xs", f32s(&[], &[0.1]))
            .constant("xz", u8s(&[], &[128]))
            .constant("w", i8s(&[2, 2], &[10, 20, -30, 40]))
            .constant("ws", f32s(&[2], &[0.5, 0.25]))
            .constant("wz", i8s(&[2], &[0, 0]))
            .constant("ys", f32s(&[], &[0.02]))
            .constant("yz", u8s(&[], &[zero]))
            .node("QuantizeLinear", &["x", "xs", "xz"], &["xq"], &[])
            .node("DequantizeLinear", &["xq", "xs", "xz"], &["xd"], &[])
            .node("DequantizeLinear", &["w", "ws", "wz"], &["wd"], &[("axis", 1)])
            .node("MatMul", &["xd", "wd"], &["m"], &[])
            .node("QuantizeLinear", &["m", "ys", "yz"], &["mq"], &[])
            .node("DequantizeLinear", &["mq", "ys", "yz"], &["y"], &[])
            .output("y", DType::F32, &[Some(1), Some(2)])
            .model()
    }

    #[test]
    fn pairs_and_weights_are_folded() {
        let mut model = quantized(0);
        assert_eq!(fold(&mut model), 3);
        let graph = model.graph.expect("graph");
        let operators: Vec<_> = graph.node.iter().map(|node| node.op_type.as_str()).collect();
        assert_eq!(operators, ["Identity", "MatMul", "Clip"]);
        let weights = graph.initializer.iter().find(|t| t.name == "wd").expect("weights");
        assert_eq!(numbers(weights).expect("floats"), [5.0, 5.0, -15.0, 10.0]);
        let highest = graph.initializer.iter().find(|t| t.name == "y/max").expect("limit");
        assert!((numbers(highest).expect("floats")[0] - 5.1).abs() < 1e-6);
        assert!(!graph.initializer.iter().any(|t| t.name == "w"), "nobody reads the integers");
    }

    #[test]
    fn a_zero_point_in_the_middle_limits_nothing() {
        let mut model = quantized(100);
        fold(&mut model);
        let graph = model.graph.expect("graph");
        assert_eq!(graph.node.last().expect("node").op_type, "Identity");
    }

    #[test]
    fn what_is_never_negative_needs_no_limit() {
        let graph = |operator: &str| {
            let mut model = Graph::new()
                .input("x", DType::F32, &[Some(2)])
                .constant("s", f32s(&[], &[0.1]))
                .constant("z", u8s(&[], &[0]))
                .node(operator, &["x"], &["a"], &[])
                .node("QuantizeLinear", &["a", "s", "z"], &["q"], &[])
                .node("DequantizeLinear", &["q", "s", "z"], &["y"], &[])
                .output("y", DType::F32, &[Some(2)])
                .model();
            fold(&mut model);
            model.graph.expect("graph").node.last().expect("node").op_type.clone()
        };
        assert_eq!(graph("Sigmoid"), "Identity");
        assert_eq!(graph("Tanh"), "Clip", "a Relu may have been folded in behind it");
    }

    #[test]
    fn what_is_no_pair_stays() {
        let plain = Graph::new()
            .input("x", DType::U8, &[Some(2)])
            .constant("s", f32s(&[], &[0.1]))
            .constant("t", f32s(&[], &[0.2]))
            .constant("z", u8s(&[], &[0]))
            .node("DequantizeLinear", &["x", "s", "z"], &["a"], &[])
            .node("QuantizeLinear", &["a", "s", "z"], &["b"], &[])
            .node("DequantizeLinear", &["b", "t", "z"], &["y"], &[])
            .output("y", DType::F32, &[Some(2)]);
        let mut model = plain.model();
        let before = model.clone();
        assert_eq!(fold(&mut model), 0, "other scales, and an input that is quantized already");
        assert_eq!(model, before);
    }
}
