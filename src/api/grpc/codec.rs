//! Messages from and to bytes. What one may hold is limited before it is read.

use std::fmt;
use std::marker::PhantomData;

use bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message};
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use super::proto;

/// Fields of a request and of its parts, the elements of tensors not counted. An input of two bytes takes fifty times
/// as many when it is read.
const MAX_FIELDS: usize = 4096;

/// A message that clients send.
pub(super) trait Limited {
    /// The fields that are messages themselves and may be there many times.
    const PARTS: &'static [u32] = &[];
}

impl Limited for proto::ModelInferRequest {
    const PARTS: &'static [u32] = &[4, 5, 6];
}

impl Limited for proto::RepositoryModelLoadRequest {
    const PARTS: &'static [u32] = &[3];
}

impl Limited for proto::RepositoryModelUnloadRequest {
    const PARTS: &'static [u32] = &[3];
}

impl Limited for proto::ServerLiveRequest {}
impl Limited for proto::ServerReadyRequest {}
impl Limited for proto::ModelReadyRequest {}
impl Limited for proto::ServerMetadataRequest {}
impl Limited for proto::ModelMetadataRequest {}
impl Limited for proto::ModelConfigRequest {}
impl Limited for proto::ModelStatisticsRequest {}
impl Limited for proto::RepositoryIndexRequest {}

/// Writes `T` and reads `U`.
pub(super) struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> fmt::Debug for Codec<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codec")
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Limited + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Reader<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        Reader(PhantomData)
    }
}

/// Reads messages.
#[derive(Debug)]
pub(super) struct Reader<U>(PhantomData<U>);

impl<U: Message + Default + Limited> Decoder for Reader<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        read(message).map(Some)
    }
}

/// A message in one piece.
pub(super) fn read<U: Message + Default + Limited>(message: impl Buf) -> Result<U, Status> {
    let wrong = |error: DecodeError| {
        Status::invalid_argument(format!("it is not as the protocol says: {error}"))
    };
    if fields(message.chunk(), U::PARTS).map_err(wrong)? > MAX_FIELDS {
        return Err(Status::invalid_argument(format!(
            "the request has more than {MAX_FIELDS} inputs, outputs and parameters"
        )));
    }
    U::decode(message).map_err(wrong)
}

/// How many fields a message has, and those of its parts.
fn fields(mut message: &[u8], parts: &[u32]) -> Result<usize, DecodeError> {
    let mut count = 0;
    while message.has_remaining() {
        let (tag, wire) = decode_key(&mut message)?;
        count += 1;
        if wire == WireType::LengthDelimited && parts.contains(&tag) {
            let length = usize::try_from(decode_varint(&mut message)?).unwrap_or(usize::MAX);
            // A part that is cut off is told of when it is read.
            let Some((part, rest)) = message.split_at_checked(length) else { break };
            count += fields(part, &[])?;
            message = rest;
        } else {
            skip_field(wire, tag, &mut message, DecodeContext::default())?;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::grpc::proto::model_infer_request::InferInputTensor;
    use crate::api::grpc::proto::{InferTensorContents, ModelInferRequest};

    fn request(inputs: usize) -> ModelInferRequest {
        ModelInferRequest {
            inputs: vec![InferInputTensor::default(); inputs],
            ..ModelInferRequest::default()
        }
    }

    #[test]
    fn a_request_of_few_bytes_takes_no_more_memory_than_its_limit() {
        let bytes = request(MAX_FIELDS).encode_to_vec();
        assert_eq!(read::<ModelInferRequest>(&bytes[..]).expect("a request").inputs.len(), 4096);
        let bytes = request(MAX_FIELDS + 1).encode_to_vec();
        let refused = read::<ModelInferRequest>(&bytes[..]).expect_err("too many");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        let mut nested = request(1);
        for n in 0..MAX_FIELDS {
            nested.inputs[0].parameters.insert(n.to_string(), proto::InferParameter::default());
        }
        read::<ModelInferRequest>(&nested.encode_to_vec()[..]).expect_err("too many parameters");
    }

    #[test]
    fn the_elements_of_tensors_are_not_counted() {
        let mut large = request(1);
        large.inputs[0].contents = Some(Box::new(InferTensorContents {
            fp32_contents: vec![0.5; 3 * MAX_FIELDS],
            ..InferTensorContents::default()
        }));
        // As fields they look like many.
        large.raw_input_contents = vec![vec![8; 3 * MAX_FIELDS].into()];
        let read: ModelInferRequest = read(&large.encode_to_vec()[..]).expect("a request");
        assert_eq!(read, large);
    }

    #[test]
    fn what_is_no_message_is_told_so() {
        for bytes in [&[0x2A, 0x09, 1][..], &[0xFF; 12], &[0x2A], &[0x07]] {
            let refused = read::<ModelInferRequest>(bytes).expect_err("no message");
            assert!(refused.message().starts_with("it is not as the protocol says"), "{refused}");
        }
    }
}
