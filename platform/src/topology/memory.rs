//! On which NUMA node memory lies.

use std::io;
use std::ptr;

/// The NUMA node of the page that holds the first byte of `memory`, asked from
/// the kernel (`move_pages(2)`, which moves nothing when it is given no target).
///
/// # Errors
/// `ENOENT` when the page was never touched, `EINVAL` for no bytes, `EPERM`
/// where a seccomp profile forbids the call (docker's does without
/// `CAP_SYS_NICE`), `ENOSYS` on a kernel without NUMA.
pub fn node_of_memory(memory: &[u8]) -> io::Result<usize> {
    if memory.is_empty() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let page = memory.as_ptr().cast::<libc::c_void>();
    let mut status: libc::c_int = 0;
    // SAFETY: one page of this very process is asked about; `page` and `status`
    // outlive the call, and without a target list the kernel only writes the
    // status.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_pages,
            0,
            1usize,
            &raw const page,
            ptr::null::<libc::c_int>(),
            &raw mut status,
            0,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    usize::try_from(status).map_err(|_negative| io::Error::from_raw_os_error(-status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affinity;
    use crate::buffer::ChunkPool;
    use crate::topology::Topology;

    /// Beyond the size the allocator keeps for itself, so that the pages are new.
    const FRESH: usize = 64 << 20;

    /// The nodes of a new allocation and of a chunk as a shard takes it, both
    /// touched first on `cpu`; `None` where the kernel does not tell.
    fn nodes_touched_on(cpu: usize) -> Option<[usize; 2]> {
        let touch = move || {
            affinity::pin(cpu).expect("an allowed CPU can be used");
            let fresh = vec![1_u8; FRESH];
            let mut chunk = ChunkPool::new().take(1 << 20);
            chunk.append(&[1]);
            let nodes = [node_of_memory(&fresh), node_of_memory(chunk.bytes())];
            let told: io::Result<Vec<usize>> = nodes.into_iter().collect();
            match told {
                Ok(nodes) => nodes.try_into().ok(),
                Err(error) => {
                    println!("skipped: the kernel does not tell ({error})");
                    None
                }
            }
        };
        std::thread::spawn(touch).join().expect("the thread ends")
    }

    #[test]
    fn memory_lies_on_the_node_of_the_cpu_that_touched_it_first() {
        let topology = Topology::detect();
        let nodes = topology.nodes();
        if nodes.len() < 2 {
            println!("this machine has one node: all its memory is there, nothing else is shown");
        }
        for node in nodes {
            if let Some(found) = nodes_touched_on(node.cpus[0]) {
                assert_eq!(found, [node.id; 2]);
            }
        }
    }

    #[test]
    fn no_bytes_lie_nowhere() {
        let error = node_of_memory(&[]).expect_err("there is no page");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
