//! A server of resumable uploads on loopback: tus 1.0.0, core and creation, and nothing that is not asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::cloud::{Answer, Asked, Cloud};
use super::within;

const TUS: &str = "Tus-Resumable: 1.0.0\r\n";

/// The server; gone when it is dropped.
pub(crate) struct Tus {
    cloud: Cloud,
    shelf: Arc<Mutex<Shelf>>,
}

/// What was uploaded, by its path.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    files: BTreeMap<String, Upload>,
}

/// One upload.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) length: usize,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) bytes: Vec<u8>,
    /// How many pieces it came in.
    pub(crate) pieces: usize,
}

/// What the server does with a request instead of what is right; `None`: what is right.
pub(crate) type Whim = Box<dyn FnMut(&Asked, &mut Shelf) -> Option<Answer> + Send>;

impl Shelf {
    /// Does what the protocol says.
    pub(crate) fn serve(&mut self, asked: &Asked) -> Answer {
        let line = asked.raw.lines().next().expect("a request line");
        let mut words = line.split(' ');
        let (method, path) = (words.next().expect("method"), words.next().expect("path"));
        if header(asked, "Tus-Resumable") != Some("1.0.0") {
            return Answer::Status(412, "Tus-Version: 1.0.0\r\n", "");
        }
        match (method, path) {
            ("POST", "/files/") => self.create(asked),
            ("HEAD", _) => match self.files.get(path) {
                None => Answer::Status(404, "", ""),
                Some(file) => said(200, file),
            },
            ("PATCH", _) => match self.files.get_mut(path) {
                None => Answer::Status(404, "", ""),
                Some(file) => file.append(asked, asked.body.len()),
            },
            _ => Answer::Status(405, "", ""),
        }
    }

    fn create(&mut self, asked: &Asked) -> Answer {
        let length = header(asked, "Upload-Length").and_then(|length| length.parse().ok());
        let Some(length) = length else { return Answer::Status(400, TUS, "no length") };
        let pairs = header(asked, "Upload-Metadata").unwrap_or_default().split(',');
        let metadata = pairs.map(|pair| {
            let (key, value) = pair.split_once(' ').expect("a pair");
            let value = STANDARD.decode(value).expect("base64");
            (key.to_owned(), String::from_utf8(value).expect("text"))
        });
        let upload = Upload { length, metadata: metadata.collect(), bytes: Vec::new(), pieces: 0 };
        let path = format!("/files/{}", self.files.len() + 1);
        let headers = format!("{TUS}Location: {path}\r\n");
        self.files.insert(path, upload);
        Answer::Bytes(201, headers, Vec::new())
    }

    /// The newest upload.
    pub(crate) fn newest(&mut self) -> &mut Upload {
        self.files.values_mut().last().expect("an upload")
    }

    pub(crate) fn clear(&mut self) {
        self.files.clear();
    }

    /// Those that are whole.
    pub(crate) fn whole(&self) -> Vec<Upload> {
        let whole = self.files.values().filter(|file| file.bytes.len() == file.length);
        whole.cloned().collect()
    }
}

impl Upload {
    /// Takes the first so many bytes of a piece.
    pub(crate) fn append(&mut self, asked: &Asked, most: usize) -> Answer {
        let kind = header(asked, "Content-Type");
        assert_eq!(kind, Some("application/offset+octet-stream"), "{}", asked.raw);
        let offset = header(asked, "Upload-Offset").expect("an offset");
        if offset.parse() != Ok(self.bytes.len()) {
            return Answer::Status(409, TUS, "");
        }
        self.bytes.extend(&asked.body[..most.min(asked.body.len())]);
        self.pieces += 1;
        assert!(self.bytes.len() <= self.length, "more than was said");
        said(204, self)
    }
}

fn said(status: u16, file: &Upload) -> Answer {
    let (offset, length) = (file.bytes.len(), file.length);
    let headers = format!("{TUS}Upload-Offset: {offset}\r\nUpload-Length: {length}\r\n");
    Answer::Bytes(status, headers, Vec::new())
}

/// The value of a header as it was sent.
pub(crate) fn header<'a>(asked: &'a Asked, name: &str) -> Option<&'a str> {
    asked.raw.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

impl Tus {
    /// Does what is right.
    pub(crate) async fn right() -> Self {
        Self::start(Box::new(|_, _| None)).await
    }

    /// Does what is right, but for its whims.
    pub(crate) async fn start(mut whim: Whim) -> Self {
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let shared = Arc::clone(&shelf);
        let cloud = Cloud::start(move |asked| {
            let mut shelf = shared.lock().expect("shelf");
            let whim = whim(asked, &mut shelf);
            whim.unwrap_or_else(|| shelf.serve(asked))
        });
        Self { cloud: cloud.await, shelf }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/files/", self.cloud.port())
    }

    pub(crate) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().expect("shelf")
    }

    pub(crate) const fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// Waits until so many uploads are whole.
    pub(crate) async fn holds(&self, count: usize) -> Vec<Upload> {
        let wait = async {
            while self.shelf().whole().len() < count {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        within("whole uploads", wait).await;
        self.shelf().whole()
    }
}
