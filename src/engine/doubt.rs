//! What tract is known to compute wrongly, without an error.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto};

/// Operators that need a whole row for each of its values.
const ROWS: [&str; 4] = ["Softmax", "LogSoftmax", "RMSNormalization", "LpNormalization"];

/// Operators that leave a value's neighbours alone, and may stand between.
const THROUGH: [&str; 24] = [
    "Abs",
    "Add",
    "Cast",
    "Clip",
    "Div",
    "Dropout",
    "Exp",
    "Flatten",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Mul",
    "Neg",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
];

/// Why the answers of tract need somebody to vouch for them; none if nothing is known against them.
///
/// tract 0.23 replaces what lies between a `DequantizeLinear` and a `QuantizeLinear` by a table of 256
/// values if it works on each value alone, and takes a `Softmax` for something that does.
pub(super) fn doubt(graph: &GraphProto) -> Option<String> {
    let makers: HashMap<&str, &NodeProto> = graph
        .node
        .iter()
        .flat_map(|node| node.output.iter().map(move |output| (output.as_str(), node)))
        .collect();
    let mut quantizers = graph.node.iter().filter(|node| node.op_type == "QuantizeLinear");
    if let Some(culprit) = quantizers.find_map(|node| rows_before(node, &makers)) {
        return Some(format!(
            "tract computes the quantized {} `{}` wrongly, without an error",
            culprit.op_type,
            culprit.output.first().map_or("", String::as_str)
        ));
    }
    let inner = graph.node.iter().flat_map(|node| &node.attribute);
    inner.flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)).find_map(doubt)
}

/// Walks from a quantizer up to the dequantizer that feeds it, and gives the last of [`ROWS`] between.
fn rows_before<'a>(
    quantizer: &'a NodeProto,
    makers: &HashMap<&str, &'a NodeProto>,
) -> Option<&'a NodeProto> {
    let mut culprit = None;
    let mut node = quantizer;
    // A file may well hold a circle.
    let mut seen = HashSet::new();
    while seen.insert(node.output.first()?) {
        let mut made = node.input.iter().filter_map(|name| makers.get(name.as_str()));
        node = made.find(|node| node.op_type != "Constant")?;
        match node.op_type.as_str() {
            "DequantizeLinear" => return culprit,
            operator if ROWS.contains(&operator) => culprit = culprit.or(Some(node)),
            operator if THROUGH.contains(&operator) => {}
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::DType;
    use crate::package::graph::{Graph, f32s, u8s};

    /// x → DQ → the operators in a row → Q → y
    fn between(operators: &[&str]) -> Option<String> {
        let mut graph = Graph::new()
            .input("x", DType::U8, &[Some(1), Some(3)])
            .constant("s", f32s(&[], &[0.1]))
            .constant("z", u8s(&[], &[0]))
            .node("DequantizeLinear", &["x", "s", "z"], &["0"], &[]);
        for (index, operator) in operators.iter().enumerate() {
            let (from, to) = (index.to_string(), (index + 1).to_string());
            graph = graph.node(operator, &[&from], &[&to], &[]);
        }
        let last = operators.len().to_string();
        let graph = graph.node("QuantizeLinear", &[&last, "s", "z"], &["y"], &[]);
        doubt(&graph.model().graph.expect("graph"))
    }

    #[test]
    fn a_softmax_between_the_two_is_in_doubt() {
        assert!(between(&["Softmax"]).expect("doubt").contains("quantized Softmax `1`"));
        assert!(between(&["Relu", "Softmax", "Reshape"]).is_some());
        assert!(between(&["LogSoftmax"]).is_some());
    }

    #[test]
    fn what_is_computed_well_is_not() {
        assert_eq!(between(&["Relu"]), None);
        assert_eq!(between(&["MatMul", "Relu"]), None);
        assert_eq!(between(&["Softmax", "MatMul"]), None, "the two are not next to each other");
        assert_eq!(between(&[]), None);
    }

    #[test]
    fn a_graph_that_runs_in_a_circle_ends() {
        let graph = Graph::new()
            .node("Relu", &["b"], &["a"], &[])
            .node("Relu", &["a"], &["b"], &[])
            .node("QuantizeLinear", &["b"], &["y"], &[]);
        assert_eq!(doubt(&graph.model().graph.expect("graph")), None);
    }
}
