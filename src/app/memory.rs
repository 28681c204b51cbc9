//! Giving back what only the start needed.

use std::ffi::{c_int, c_void};
use std::io;
use std::ops::Range;

/// Unmaps the program's own code and constants and those of its libraries: what is used comes back from
/// the page cache at the next access, what only the start ran (reading the configuration, optimising
/// graphs) does not. Tens of megabytes on a device that has few. Memory that was freed goes back too.
///
/// Says how many bytes were mapped there.
pub(super) fn give_back() -> io::Result<usize> {
    let mut segments: Vec<Range<usize>> = Vec::new();
    // SAFETY: the callback is called during this call alone, with the pointer to `segments`.
    #[expect(unsafe_code, reason = "the C library alone knows the segments")]
    unsafe {
        libc::dl_iterate_phdr(Some(collect), (&raw mut segments).cast());
    }
    let mut total = 0;
    for segment in segments {
        // SAFETY: these are whole pages of a segment that a file backs and nobody may write, so
        // they are the same as that file; after MADV_DONTNEED the next access reads them from there.
        // The segments that the loader changes before it protects them are declared writable.
        #[expect(unsafe_code, reason = "there is no safe call for advice on a mapping")]
        let outcome = unsafe {
            libc::madvise(segment.start as *mut c_void, segment.len(), libc::MADV_DONTNEED)
        };
        if outcome != 0 {
            return Err(io::Error::last_os_error());
        }
        total += segment.len();
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the allocator's own locks and touches nothing that is in use.
    #[expect(unsafe_code, reason = "the C library alone can do it")]
    unsafe {
        libc::malloc_trim(0);
    }
    Ok(total)
}

/// Adds the segments of one object that may not be written.
#[expect(unsafe_code, reason = "called by the C library")]
unsafe extern "C" fn collect(
    object: *mut libc::dl_phdr_info,
    _size: usize,
    segments: *mut c_void,
) -> c_int {
    // SAFETY: the C library lends a valid description, whose headers are `dlpi_phnum` in number, and
    // hands on the pointer that it was given.
    let (object, headers, segments) = unsafe {
        let object = &*object;
        let headers = if object.dlpi_phdr.is_null() {
            &[]
        } else {
            std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into())
        };
        (object, headers, &mut *segments.cast::<Vec<Range<usize>>>())
    };
    for header in headers {
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
            let start = usize::try_from(object.dlpi_addr + header.p_vaddr).unwrap_or(0);
            let length = usize::try_from(header.p_memsz).unwrap_or(0);
            segments.extend(whole_pages(start..start.saturating_add(length)));
        }
    }
    0
}

/// The pages that lie in a range as a whole; a page at its edge may be shared.
fn whole_pages(range: Range<usize>) -> Option<Range<usize>> {
    // 64 KiB is the largest page that Linux knows on these machines.
    const PAGE: usize = 64 << 10;
    let pages = range.start.next_multiple_of(PAGE)..range.end / PAGE * PAGE;
    (range.start > 0 && !pages.is_empty()).then_some(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_count() {
        assert_eq!(whole_pages(0x1_0001..0x3_0001), Some(0x2_0000..0x3_0000));
        assert_eq!(whole_pages(0x1_0001..0x2_ffff), None);
        assert_eq!(whole_pages(0..0x10_0000), None);
    }

    #[test]
    fn the_program_runs_on() {
        let words = ["constants", "too"].join(" ");
        assert!(give_back().expect("given back") > 0);
        assert_eq!(words, "constants too");
        let sum: u64 = (0..1000).sum();
        assert_eq!(sum, 499_500);
    }
}
