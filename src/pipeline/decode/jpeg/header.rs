//! What comes before the compressed data.

use super::BLOCK;
use super::huffman::Codes;
use super::segments::Segments;

/// A JPEG up to its compressed data.
#[derive(Debug)]
pub(super) struct Header<'a> {
    /// Width and height in pixels, at least 1.
    pub(super) size: [usize; 2],
    /// Luma, then two of colour or none.
    pub(super) parts: Vec<Part>,
    /// Units between two restarts; 0: there are none.
    pub(super) restart: usize,
    /// Everything behind the header.
    pub(super) data: &'a [u8],
    tables: Tables,
}

/// Huffman tables, by their numbers.
#[derive(Debug, Default)]
struct Tables {
    means: [Option<Codes>; 4],
    waves: [Option<Codes>; 4],
}

/// Luma, or one of the two planes of colour.
#[derive(Debug)]
pub(super) struct Part {
    /// Its blocks in a unit, across and down.
    pub(super) blocks: [usize; 2],
    /// What each number of a block counts, in the order in which they come.
    pub(super) quantizer: [u16; 64],
    /// The numbers of its tables: of means, of waves.
    tables: [usize; 2],
}

/// What the blocks of a part are read with; `W`: what all but their means is read with.
#[derive(Debug)]
pub(super) struct Coded<'h, W> {
    /// 0 is luma.
    pub(super) index: usize,
    pub(super) quantizer: &'h [u16; 64],
    /// In a unit, across and down.
    pub(super) blocks: [usize; 2],
    /// The codes of their means.
    pub(super) means: &'h Codes,
    pub(super) waves: &'h W,
}

/// A component as the start of the frame tells of it.
struct Component {
    id: u8,
    blocks: [usize; 2],
    quantizer: usize,
}

impl<'a> Header<'a> {
    pub(super) fn read(payload: &'a [u8]) -> Option<Self> {
        let mut segments = Segments::new(payload);
        let mut quantizers = [None; 4];
        let mut tables = Tables::default();
        let mut frame = None;
        let mut restart = 0;
        loop {
            match segments.next()? {
                (0xC0 | 0xC1, body) if frame.is_none() => frame = Some(read_frame(body)?),
                (0xC4, body) => read_codes(body, &mut tables)?,
                (0xDB, body) => read_quantizers(body, &mut quantizers)?,
                (0xDD, [high, low]) => restart = usize::from(u16::from_be_bytes([*high, *low])),
                // Adobe says which colours there are; only the usual ones are made smaller here.
                (0xEE, [b'A', b'd', b'o', b'b', b'e', .., transform]) if *transform != 1 => {
                    return None;
                }
                (0xDA, body) => {
                    let (size, components) = frame?;
                    let parts = read_parts(body, &components, &quantizers)?;
                    return Some(Self { size, parts, restart, data: segments.0, tables });
                }
                // Comments and what applications put.
                (0xE0..=0xEF | 0xFE, _) => {}
                _ => return None,
            }
        }
    }

    /// Makes something of the codes of all but the means, by the number of their table.
    pub(super) fn waves<'h, W>(&'h self, make: impl Fn(&'h Codes) -> W) -> [Option<W>; 4] {
        self.tables.waves.each_ref().map(|codes| codes.as_ref().map(&make))
    }

    /// What each part is read with; `None`: a table is missing.
    pub(super) fn coded<'h, W>(&'h self, all: &'h [Option<W>; 4]) -> Option<Vec<Coded<'h, W>>> {
        let parts = self.parts.iter().enumerate().map(|(index, part)| {
            let [means, waves] = part.tables;
            Some(Coded {
                index,
                quantizer: &part.quantizer,
                blocks: part.blocks,
                means: self.tables.means.get(means)?.as_ref()?,
                waves: all.get(waves)?.as_ref()?,
            })
        });
        parts.collect()
    }

    /// How many units there are across and down: the blocks of each part that lie together.
    pub(super) fn units(&self) -> [usize; 2] {
        let [wide, high] = self.parts[0].blocks;
        [self.size[0].div_ceil(BLOCK * wide), self.size[1].div_ceil(BLOCK * high)]
    }
}

/// B.2.2: the size, and one or three components.
fn read_frame(body: &[u8]) -> Option<([usize; 2], Vec<Component>)> {
    let [8, h1, h0, w1, w0, count, rest @ ..] = body else { return None };
    let size = [[*w1, *w0], [*h1, *h0]].map(|side| usize::from(u16::from_be_bytes(side)));
    let (components, []) = rest.as_chunks::<3>() else { return None };
    if size.contains(&0) || components.len() != usize::from(*count) {
        return None;
    }
    let read = |&[id, sampling, quantizer]: &[u8; 3]| Component {
        id,
        blocks: [usize::from(sampling >> 4), usize::from(sampling & 15)],
        quantizer: usize::from(quantizer),
    };
    let mut components: Vec<_> = components.iter().map(read).collect();
    match &mut components[..] {
        // Alone, its blocks lie in rows whatever it says (A.2.2).
        [gray] => gray.blocks = [1, 1],
        [luma, blue, red] => {
            let usual = luma.blocks.iter().all(|blocks| matches!(blocks, 1 | 2))
                && [&*blue, &*red].iter().all(|part| part.blocks == [1, 1])
                && [luma.id, blue.id, red.id] != *b"RGB";
            if !usual {
                return None;
            }
        }
        _ => return None,
    }
    Some((size, components))
}

/// B.2.3: one scan of everything.
fn read_parts(
    body: &[u8],
    components: &[Component],
    quantizers: &[Option<[u16; 64]>; 4],
) -> Option<Vec<Part>> {
    let (count, rest) = body.split_first()?;
    let (all, [0, 63, 0]) = rest.split_at_checked(2 * components.len())? else { return None };
    if usize::from(*count) != components.len() {
        return None;
    }
    let parts = all.as_chunks::<2>().0.iter().zip(components).map(|(&[id, tables], component)| {
        (id == component.id).then_some(())?;
        Some(Part {
            blocks: component.blocks,
            quantizer: (*quantizers.get(component.quantizer)?)?,
            tables: [tables >> 4, tables & 15].map(usize::from),
        })
    });
    parts.collect()
}

/// B.2.4.2.
fn read_codes(mut body: &[u8], tables: &mut Tables) -> Option<()> {
    while let Some((head, rest)) = body.split_first() {
        let (counts, rest) = rest.split_first_chunk::<16>()?;
        let total = counts.iter().map(|count| usize::from(*count)).sum();
        let (symbols, rest) = rest.split_at_checked(total)?;
        let (codes, number) = (Codes::new(counts, symbols)?, usize::from(head & 15));
        match head >> 4 {
            0 => *tables.means.get_mut(number)? = Some(codes),
            1 => *tables.waves.get_mut(number)? = Some(codes),
            _ => return None,
        }
        body = rest;
    }
    Some(())
}

/// B.2.4.1.
fn read_quantizers(mut body: &[u8], quantizers: &mut [Option<[u16; 64]>; 4]) -> Option<()> {
    while let Some((head, rest)) = body.split_first() {
        let place = quantizers.get_mut(usize::from(head & 15))?;
        let quantizer = place.insert([0; 64]);
        body = match head >> 4 {
            0 => {
                let (values, rest) = rest.split_first_chunk::<64>()?;
                *quantizer = values.map(u16::from);
                rest
            }
            1 => {
                let (values, rest) = rest.split_first_chunk::<128>()?;
                let (pairs, _) = values.as_chunks();
                for (to, pair) in quantizer.iter_mut().zip(pairs) {
                    *to = u16::from_be_bytes(*pair);
                }
                rest
            }
            _ => return None,
        };
    }
    Some(())
}
