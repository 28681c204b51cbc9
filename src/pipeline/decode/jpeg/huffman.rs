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

/// The codes of what a block holds besides its mean: each tells how many zeros come first, and how many bits the
/// number behind it has.
#[derive(Debug)]
pub(super) struct Waves {
    codes: Codes,
    /// By the next [`FAST`] bits.
    jumps: Box<[Jump; 1 << FAST]>,
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

impl Waves {
    pub(super) fn new(codes: Codes) -> Self {
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

    /// A number of `size` bits, 0 to 16: F.2.2.1, `EXTEND`.
    #[inline]
    fn number(&mut self, size: u32) -> i32 {
        // Those without a leading 1 are the negative ones.
        let negative = i32::from(self.next >> 63 == 0);
        let value = i32::try_from((self.next >> 32) >> (32 - size)).unwrap_or(0);
        self.skip(size);
        value - negative * ((1 << size) - 1)
    }

    /// The mean of a block, as its difference from that of the block before.
    #[inline]
    pub(super) fn difference(&mut self, codes: &Codes) -> Option<i32> {
        let size = u32::from(self.symbol(codes)?);
        (size <= 11).then(|| self.number(size))
    }

    /// Passes over all of a block but its mean.
    #[inline]
    pub(super) fn skip_waves(&mut self, waves: &Waves) -> Option<()> {
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
            let symbol = self.symbol(&waves.codes)?;
            if symbol == END {
                return Some(());
            }
            self.skip(u32::from(symbol & 15));
            place += (symbol >> 4) + 1;
        }
        (place == 64).then_some(())
    }

    /// All of the data was read, but for the bits that fill its last byte, and none behind it.
    pub(super) fn is_used_up(&self) -> bool {
        let read = self.at * 8 - self.count as usize;
        let there = (self.data.len() - PADDING) * 8;
        (there.saturating_sub(7)..=there).contains(&read)
    }
}
