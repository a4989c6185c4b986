//! How long does a frame take without any work? A program of two instructions, which passes every
//! frame. It is loaded with bpf(2) here, so that the object in the daemon does not contain it.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use relay_kernel::testing::TestResult;

/// linux/bpf.h: `mov64 r0, XDP_PASS` and `exit`, in the byte order of this machine.
const INSTRUCTIONS: [[u8; 8]; 2] = {
    let [a, b, c, d] = 2_i32.to_ne_bytes();
    [[0xb7, 0, 0, 0, a, b, c, d], [0x95, 0, 0, 0, 0, 0, 0, 0]]
};

/// linux/bpf.h: enum bpf_cmd and enum bpf_prog_type.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_PROG_TYPE_XDP: u32 = 6;

/// linux/bpf.h: the beginning of union bpf_attr for BPF_PROG_LOAD. The kernel takes the rest as 0.
#[repr(C)]
#[derive(Default)]
struct LoadAttribute {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

/// The same for BPF_PROG_TEST_RUN.
#[repr(C)]
#[derive(Default)]
struct TestRunAttribute {
    program: u32,
    return_value: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    nanoseconds: u32,
}

/// The loaded program.
#[derive(Debug)]
pub struct EmptyProgram(OwnedFd);

impl EmptyProgram {
    /// Loads the program.
    ///
    /// # Errors
    /// The kernel refuses: the right is missing, for example.
    pub fn load() -> io::Result<Self> {
        let mut attribute = LoadAttribute {
            program_type: BPF_PROG_TYPE_XDP,
            instruction_count: INSTRUCTIONS.len() as u32,
            instructions: INSTRUCTIONS.as_ptr() as u64,
            license: c"MIT".as_ptr() as u64,
        };
        // SAFETY: the pointers in the attribute are of constants.
        let program = unsafe { bpf(BPF_PROG_LOAD, &mut attribute) }?;
        // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(program) }))
    }

    /// Runs the program on a frame as often as `repeat` says.
    ///
    /// # Errors
    /// The kernel refuses frames shorter than an Ethernet header.
    pub fn run(&self, frame: &[u8], repeat: u32) -> io::Result<TestResult> {
        let size = u32::try_from(frame.len()).map_err(io::Error::other)?;
        let mut attribute = TestRunAttribute {
            program: self.0.as_raw_fd().unsigned_abs(),
            data_size_in: size,
            data_in: frame.as_ptr() as u64,
            repeat,
            ..TestRunAttribute::default()
        };
        // SAFETY: the attribute points to the frame, which outlives the call, and gives its size.
        // The kernel writes to no address: `data_out` is null.
        unsafe { bpf(BPF_PROG_TEST_RUN, &mut attribute) }?;
        let duration = Duration::from_nanos(attribute.nanoseconds.into());
        Ok(TestResult::new(attribute.return_value, duration))
    }
}

/// bpf(2).
///
/// # Safety
/// `attribute` is the beginning of union bpf_attr for this command, and its pointers are valid.
unsafe fn bpf<A>(command: libc::c_long, attribute: &mut A) -> io::Result<i32> {
    let size = size_of::<A>() as libc::c_long;
    // SAFETY: as the caller promises; the kernel reads and writes `size` octets of the attribute.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), size) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        i32::try_from(result).map_err(io::Error::other)
    }
}
