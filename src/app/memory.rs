//! Giving back what only the start needed.

use std::io;

/// Unmaps the program's own code and that of its libraries: what is used comes back from the page cache
/// at the next call, what only the start ran (reading the configuration, optimising graphs) does not.
/// Tens of megabytes on a device that has few. Nothing is lost: code is never written to.
///
/// Says how many bytes were mapped there.
pub(super) fn give_back_code() -> io::Result<usize> {
    let maps = crate::disk::read_bounded("/proc/self/maps".as_ref(), 4 << 20)?;
    let maps = String::from_utf8(maps).map_err(io::Error::other)?;
    let mut total = 0;
    for (start, end) in maps.lines().filter_map(code) {
        // SAFETY: the range is a whole mapping of the kernel's own list. It is private, backed by a
        // file and, not being writable, the same as that file; after MADV_DONTNEED the next access
        // reads it from there again.
        #[expect(unsafe_code, reason = "there is no safe call for advice on a mapping")]
        let outcome =
            unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
        if outcome != 0 {
            return Err(io::Error::last_os_error());
        }
        total += end - start;
    }
    Ok(total)
}

/// The range of a line of `/proc/self/maps`, if it is code of a file: `start-end r-xp … /path`. Constants
/// are left alone: those that the loader relocated differ from the file.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (permissions, path) = (words.next()?, words.nth(3)?);
    if permissions != "r-xp" || !path.starts_with('/') {
        return None;
    }
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some((address(start)?, address(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_given_back() {
        let line =
            |flags, path| format!("55d0c0e00000-55d0c0f00000 {flags} 00001000 fe:00 12 {path}");
        assert_eq!(code(&line("r-xp", "/usr/bin/eir")), Some((0x55d0_c0e0_0000, 0x55d0_c0f0_0000)));
        assert_eq!(code(&line("r--p", "/usr/bin/eir")), None);
        assert_eq!(code(&line("rwxp", "/usr/bin/eir")), None);
        assert_eq!(code(&line("r-xp", "[vdso]")), None);
        assert_eq!(code(&line("r-xp", "")), None);
        assert_eq!(code("rubbish"), None);
    }

    #[test]
    fn the_program_runs_on() {
        assert!(give_back_code().expect("given back") > 0);
        let sum: u64 = (0..1000).sum();
        assert_eq!(sum, 499_500);
    }
}
