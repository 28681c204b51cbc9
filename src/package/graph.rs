//! Tiny ONNX graphs, written by hand, for the tests of this room and those above it.

use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto::AttributeType,
    tensor_proto::DataType, tensor_shape_proto::Dimension, tensor_shape_proto::dimension,
    type_proto,
};

use crate::event::DType;

/// A graph under construction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph(GraphProto);

impl Graph {
    pub(crate) fn new() -> Self {
        Self(GraphProto { name: "test".into(), ..GraphProto::default() })
    }

    /// `x` comes out as `y`.
    pub(crate) fn identity(dtype: DType, shape: &[Option<usize>]) -> Self {
        Self::new()
            .input("x", dtype, shape)
            .node("Identity", &["x"], &["y"], &[])
            .output("y", dtype, shape)
    }

    pub(crate) fn input(mut self, name: &str, dtype: DType, shape: &[Option<usize>]) -> Self {
        self.0.input.push(end(name, dtype, shape));
        self
    }

    pub(crate) fn output(mut self, name: &str, dtype: DType, shape: &[Option<usize>]) -> Self {
        self.0.output.push(end(name, dtype, shape));
        self
    }

    pub(crate) fn constant(mut self, name: &str, tensor: TensorProto) -> Self {
        self.0.initializer.push(TensorProto { name: name.into(), ..tensor });
        self
    }

    pub(crate) fn node(
        mut self,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, i64)],
    ) -> Self {
        self.0.node.push(NodeProto {
            name: outputs.join("_"),
            op_type: operator.into(),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: outputs.iter().map(ToString::to_string).collect(),
            attribute: attributes
                .iter()
                .map(|(name, value)| AttributeProto {
                    name: (*name).into(),
                    r#type: AttributeType::Int as i32,
                    i: *value,
                    ..AttributeProto::default()
                })
                .collect(),
            ..NodeProto::default()
        });
        self
    }

    pub(crate) fn model(self) -> ModelProto {
        ModelProto {
            ir_version: 8,
            producer_name: "eir".into(),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
            graph: Some(self.0),
            ..ModelProto::default()
        }
    }

    /// The file, as if it asked for another version of ONNX's operators.
    pub(crate) fn bytes_of_opset(self, version: i64) -> Vec<u8> {
        let mut model = self.model();
        model.opset_import[0].version = version;
        model.encode_to_vec()
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.model().encode_to_vec()
    }
}

pub(crate) fn f32s(shape: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        dims: shape.to_vec(),
        data_type: DataType::Float as i32,
        float_data: values.to_vec(),
        ..TensorProto::default()
    }
}

pub(crate) fn u8s(shape: &[i64], values: &[u8]) -> TensorProto {
    TensorProto {
        dims: shape.to_vec(),
        data_type: DataType::Uint8 as i32,
        raw_data: values.to_vec(),
        ..TensorProto::default()
    }
}

pub(crate) fn i8s(shape: &[i64], values: &[i8]) -> TensorProto {
    TensorProto {
        dims: shape.to_vec(),
        data_type: DataType::Int8 as i32,
        raw_data: values.iter().map(|value| value.cast_unsigned()).collect(),
        ..TensorProto::default()
    }
}

fn end(name: &str, dtype: DType, shape: &[Option<usize>]) -> ValueInfoProto {
    let code = match dtype {
        DType::Bool => DataType::Bool,
        DType::U8 => DataType::Uint8,
        DType::I8 => DataType::Int8,
        DType::U16 => DataType::Uint16,
        DType::I16 => DataType::Int16,
        DType::U32 => DataType::Uint32,
        DType::I32 => DataType::Int32,
        DType::U64 => DataType::Uint64,
        DType::I64 => DataType::Int64,
        DType::F16 => DataType::Float16,
        DType::F32 => DataType::Float,
        DType::F64 => DataType::Double,
        DType::String => DataType::String,
    };
    let dim = |size: &Option<usize>| Dimension {
        value: Some(match size {
            Some(size) => dimension::Value::DimValue(i64::try_from(*size).unwrap_or(i64::MAX)),
            None => dimension::Value::DimParam("N".into()),
        }),
        ..Dimension::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: code as i32,
        shape: Some(TensorShapeProto { dim: shape.iter().map(dim).collect() }),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
