//! TCP counters of the kernel in a network namespace.

/// These counters of `TcpExt`, with `nstat`'s names, of the calling thread's namespace.
pub fn tcp_counters<const N: usize>(names: [&str; N]) -> [u64; N] {
    let table = std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let mut lines = table.lines().filter(|line| line.starts_with("TcpExt:"));
    let (header, values) = (lines.next().unwrap(), lines.next().unwrap());
    names.map(|wanted| {
        let mut counters = header.split(' ').zip(values.split(' '));
        let counter = counters.find(|(name, _)| *name == wanted);
        counter.and_then(|(_, value)| value.parse().ok()).unwrap()
    })
}
