//! Bits, and the Huffman codes in them (ITU-T T.81, annexes C and F).

/// Codes of up to so many bits are found in one look.
const FAST: u32 = 10;

/// The symbol behind which a block holds nothing but zeros.
const END: u8 = 0;

/// Zeros behind the data: reading may run into them, and is told so afterwards.
const PADDING: usize = 16;

/// The codes of one table.
#[derive(Debug)]
pub(super) struct Codes {
    /// By the next [`FAST`] bits: the length of the code above its symbol; 0 where no short code begins so.
    fast: Box<[u16; 1 << FAST]>,
    /// By length: the 16 bits behind those that begin with a code of this length or a shorter one.
    ends: [u32; 17],
    /// By length: what makes the place of its symbol of a code.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Codes {
    /// `counts`: how many codes there are of 1, 2, … 16 bits. `None`: there cannot be so many.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut fast = Box::new([0; 1 << FAST]);
        let (mut ends, mut offsets) = ([0; 17], [0; 17]);
        let (mut code, mut place) = (0_u32, 0_u16);
        for (length, count) in (1_u16..).zip(counts) {
            let of_length =
                symbols.get(usize::from(place)..usize::from(place + u16::from(*count)))?;
            offsets[usize::from(length)] = i32::from(place) - i32::try_from(code).ok()?;
            for symbol in of_length {
                if let Some(free) = FAST.checked_sub(u32::from(length)) {
                    let start = (code << free) as usize;
                    fast.get_mut(start..start + (1 << free))?
                        .fill(length << 8 | u16::from(*symbol));
                }
                code += 1;
            }
            if code > 1 << length {
                return None;
            }
            ends[usize::from(length)] = code << (16 - length);
            place += u16::from(*count);
            code <<= 1;
        }
        Some(Self { fast, ends, offsets, symbols: symbols.to_vec() })
    }

    /// The length of the code that 64 bits begin with, and its symbol.
    #[inline]
    fn find(&self, bits: u64) -> Option<(u32, u8)> {
        self.find_short(bits).or_else(|| self.find_long(bits))
    }

    #[inline]
    fn find_short(&self, bits: u64) -> Option<(u32, u8)> {
        let [length, symbol] = self.fast[(bits >> (64 - FAST)) as usize].to_be_bytes();
        (length > 0).then_some((u32::from(length), symbol))
    }

    #[cold]
    fn find_long(&self, bits: u64) -> Option<(u32, u8)> {
        let start = u32::try_from(bits >> 48).ok()?;
        let length = (FAST + 1..=16).find(|length| start < self.ends[*length as usize])?;
        let code = i32::try_from(start >> (16 - length)).ok()?;
        let place = usize::try_from(code + self.offsets[length as usize]).ok()?;
        Some((length, *self.symbols.get(place)?))
    }
}

/// The codes of what a block holds besides its mean, to pass over it: each tells how many zeros come first, and how
/// many bits the number behind it has.
#[derive(Debug)]
pub(super) struct Jumps<'c> {
    codes: &'c Codes,
    /// By the next [`FAST`] bits.
    jumps: Box<[Jump; 1 << FAST]>,
}

/// The same codes, to read the numbers.
#[derive(Debug)]
pub(super) struct Numbers<'c> {
    codes: &'c Codes,
    /// By the next [`FAST`] bits.
    shorts: Box<[Short; 1 << FAST]>,
}

/// A number that lies whole in a few bits, and the zeros before it.
#[derive(Debug, Clone, Copy, Default)]
struct Short {
    /// How long it is; 0: longer, or no number.
    bits: u8,
    zeros: u8,
    value: i16,
}

/// All numbers that lie whole in a few bits, to be passed over at once.
#[derive(Debug, Clone, Copy, Default)]
struct Jump {
    /// How long they are; 0: the first is longer.
    bits: u8,
    /// How many they are with their zeros, 160 at most.
    numbers: u8,
    /// Behind them the block ends.
    ends: bool,
}

impl<'c> Jumps<'c> {
    pub(super) fn new(codes: &'c Codes) -> Self {
        let mut jumps = Box::new([Jump::default(); 1 << FAST]);
        for (start, jump) in (0_u64..).zip(jumps.iter_mut()) {
            let all = start << (64 - FAST);
            while let Some((length, symbol)) = codes.find_short(all << jump.bits) {
                let bits = u32::from(jump.bits) + length + u32::from(symbol & 15);
                if jump.ends || bits > FAST {
                    break;
                }
                jump.bits = u8::try_from(bits).unwrap_or(0);
                jump.ends = symbol == END;
                jump.numbers += if jump.ends { 0 } else { (symbol >> 4) + 1 };
            }
        }
        Self { codes, jumps }
    }
}

impl<'c> Numbers<'c> {
    pub(super) fn new(codes: &'c Codes) -> Self {
        let mut shorts = Box::new([Short::default(); 1 << FAST]);
        for (start, short) in (0_u64..).zip(shorts.iter_mut()) {
            let all = start << (64 - FAST);
            let Some((length, symbol)) = codes.find_short(all) else { continue };
            let size = u32::from(symbol & 15);
            if size > 0 && length + size <= FAST {
                let value = number(all << length, size);
                *short = Short {
                    bits: u8::try_from(length + size).unwrap_or(0),
                    zeros: symbol >> 4,
                    value: i16::try_from(value).unwrap_or(0),
                };
            }
        }
        Self { codes, shorts }
    }
}

/// The number of `size` bits, 0 to 16, that `bits` begin with: F.2.2.1, `EXTEND`.
#[inline]
fn number(bits: u64, size: u32) -> i32 {
    // Those without a leading 1 are the negative ones.
    let negative = i32::from(bits >> 63 == 0);
    let value = i32::try_from((bits >> 32) >> (32 - size)).unwrap_or(0);
    value - negative * ((1 << size) - 1)
}

/// Where in a block, row by row, the numbers belong that come one after the other (figure A.6).
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Makes compressed data ready for [`Bits`].
pub(super) fn pad(clean: &mut Vec<u8>) {
    clean.extend_from_slice(&[0; PADDING]);
}

/// Compressed data, bit by bit.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    /// With its padding.
    data: &'a [u8],
    at: usize,
    /// The next bits, from the top; those below `count` are right, or 0.
    next: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    /// `padded`: see [`pad`].
    pub(super) fn new(padded: &'a [u8]) -> Self {
        Self { data: padded, at: 0, next: 0, count: 0 }
    }

    /// At least 56 bits are there then. `None`: the data came to its end long ago.
    #[inline]
    fn refill(&mut self) -> Option<()> {
        let more = self.data.get(self.at..)?.first_chunk()?;
        self.next |= u64::from_be_bytes(*more) >> self.count;
        self.at += (63 - self.count as usize) >> 3;
        self.count |= 0x38;
        Some(())
    }

    #[inline]
    fn skip(&mut self, count: u32) {
        self.next <<= count;
        self.count -= count;
    }

    /// A symbol; the 15 bits that may belong to it are there then.
    #[inline]
    fn symbol(&mut self, codes: &Codes) -> Option<u8> {
        if self.count < 32 {
            self.refill()?;
        }
        let (length, symbol) = codes.find(self.next)?;
        self.skip(length);
        Some(symbol)
    }

    #[inline]
    fn number(&mut self, size: u32) -> i32 {
        let value = number(self.next, size);
        self.skip(size);
        value
    }

    /// The mean of a block, as its difference from that of the block before.
    #[inline]
    pub(super) fn difference(&mut self, codes: &Codes) -> Option<i32> {
        let size = u32::from(self.symbol(codes)?);
        (size <= 11).then(|| self.number(size))
    }

    /// Passes over all of a block but its mean.
    #[inline]
    pub(super) fn skip_waves(&mut self, waves: &Jumps<'_>) -> Option<()> {
        let mut place = 1;
        while place < 64 {
            if self.count < 32 {
                self.refill()?;
            }
            let jump = waves.jumps[(self.next >> (64 - FAST)) as usize];
            let to = place + jump.numbers;
            if jump.bits > 0 && to + u8::from(jump.ends) <= 64 {
                self.skip(u32::from(jump.bits));
                if jump.ends {
                    return Some(());
                }
                place = to;
                continue;
            }
            // Too long for a jump, or the last of the block.
            let symbol = self.symbol(waves.codes)?;
            if symbol == END {
                return Some(());
            }
            self.skip(u32::from(symbol & 15));
            place += (symbol >> 4) + 1;
        }
        (place == 64).then_some(())
    }

    /// Reads all of a block but its mean, each number times its step, and says how many rows and columns from the
    /// first on are not all 0.
    #[inline]
    pub(super) fn waves(
        &mut self,
        waves: &Numbers<'_>,
        steps: &[u16; 64],
        block: &mut [f32; 64],
    ) -> Option<[usize; 2]> {
        let (mut place, mut rows, mut columns) = (1, 0, 0);
        while place < 64 {
            if self.count < 32 {
                self.refill()?;
            }
            let short = waves.shorts[(self.next >> (64 - FAST)) as usize];
            let value = if short.bits > 0 {
                self.skip(u32::from(short.bits));
                place += usize::from(short.zeros);
                short.value
            } else {
                let symbol = self.symbol(waves.codes)?;
                match symbol {
                    END => break,
                    // Sixteen zeros.
                    0xF0 => {
                        place += 16;
                        continue;
                    }
                    _ => place += usize::from(symbol >> 4),
                }
                // Zeros without a number are not of this kind of JPEG.
                let size = (symbol & 15 > 0).then_some(u32::from(symbol & 15))?;
                i16::try_from(self.number(size)).ok()?
            };
            let step = *steps.get(place)?;
            let to = ZIGZAG[place];
            block[usize::from(to & 63)] = f32::from(value) * f32::from(step);
            (rows, columns) = (rows.max(to >> 3), columns.max(to & 7));
            place += 1;
        }
        (place <= 64).then_some([usize::from(rows) + 1, usize::from(columns) + 1])
    }

    /// All of the data was read, but for the bits that fill its last byte, and none behind it.
    pub(super) fn is_used_up(&self) -> bool {
        let read = self.at * 8 - self.count as usize;
        let there = (self.data.len() - PADDING) * 8;
        (there.saturating_sub(7)..=there).contains(&read)
    }
}
