//! What waits for a worker: by priority, then by NUMA node.

use std::collections::VecDeque;

use super::job::Priority;

/// Times in a row that work of a class is passed over for a higher one before
/// it is its turn: low priority is slow while higher work waits, never stuck.
const PATIENCE: [u32; Priority::ALL.len()] = [u32::MAX, 4, 16];

/// Work in the order it is to be done.
///
/// The highest class that has work comes first, except that one which was
/// passed over as often as [`PATIENCE`] says is next. Within a class, a node's
/// own work comes first, oldest first; a worker whose node has none takes from
/// the node where most waits.
#[derive(Debug)]
pub(super) struct Queue<T> {
    classes: [Class<T>; Priority::ALL.len()],
}

#[derive(Debug)]
struct Class<T> {
    /// By node.
    lists: Box<[VecDeque<T>]>,
    len: usize,
    passed: u32,
}

impl<T> Queue<T> {
    pub(super) fn new(nodes: usize) -> Self {
        let class = || Class {
            lists: (0..nodes.max(1)).map(|_| VecDeque::new()).collect(),
            len: 0,
            passed: 0,
        };
        Self {
            classes: [class(), class(), class()],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.classes.iter().map(|class| class.len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn push(&mut self, priority: Priority, node: usize, item: T) {
        let class = &mut self.classes[priority as usize];
        class.lists[node].push_back(item);
        class.len += 1;
    }

    /// What a worker of this node is to do next.
    pub(super) fn pop(&mut self, node: usize) -> Option<T> {
        let chosen = self.choose()?;
        for lower in &mut self.classes[chosen + 1..] {
            lower.passed = if lower.len > 0 { lower.passed + 1 } else { 0 };
        }
        let class = &mut self.classes[chosen];
        class.passed = 0;
        class.len -= 1;
        let list = if class.lists[node].is_empty() {
            class.lists.iter_mut().max_by_key(|list| list.len())?
        } else {
            &mut class.lists[node]
        };
        list.pop_front()
    }

    /// Takes one item out of the middle. Costs a look at each; they are few,
    /// and it is done for those that have waited for too long.
    pub(super) fn remove(&mut self, mut is_it: impl FnMut(&T) -> bool) -> Option<T> {
        for class in &mut self.classes {
            for list in &mut class.lists {
                if let Some(index) = list.iter().position(&mut is_it) {
                    class.len -= 1;
                    return list.remove(index);
                }
            }
        }
        None
    }

    /// Takes everything, in no order.
    pub(super) fn take_all(&mut self) -> Vec<T> {
        let mut all = Vec::with_capacity(self.len());
        for class in &mut self.classes {
            class.len = 0;
            class.passed = 0;
            for list in &mut class.lists {
                all.extend(list.drain(..));
            }
        }
        all
    }

    fn choose(&self) -> Option<usize> {
        let waits = |&index: &usize| self.classes[index].len > 0;
        let overdue = |&index: &usize| self.classes[index].passed >= PATIENCE[index];
        let indices = 0..self.classes.len();
        let urgent = indices.clone().rev().find(|i| waits(i) && overdue(i));
        urgent.or_else(|| indices.into_iter().find(waits))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn higher_work_comes_first_and_each_class_in_its_order() {
        let mut queue = Queue::new(1);
        for n in 0..2 {
            for priority in [Priority::Low, Priority::High, Priority::Normal] {
                queue.push(priority, 0, (priority, n));
            }
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(0)).collect();
        let expected = Priority::ALL.map(|priority| [(priority, 0), (priority, 1)]);
        assert_eq!(order, expected.concat());
    }

    #[test]
    fn a_worker_takes_from_its_own_node_first_and_else_helps() {
        let mut queue = Queue::new(3);
        queue.push(Priority::Normal, 0, "0a");
        queue.push(Priority::Normal, 2, "2a");
        queue.push(Priority::Normal, 2, "2b");
        queue.push(Priority::High, 0, "0 first");
        assert_eq!(queue.pop(1), Some("0 first"), "class before node");
        assert_eq!(queue.pop(1), Some("2a"), "where most waits");
        assert_eq!(queue.pop(0), Some("0a"));
        assert_eq!(queue.pop(0), Some("2b"));
        assert_eq!(queue.pop(0), None);
    }

    fn priority() -> impl Strategy<Value = Priority> {
        prop::sample::select(Priority::ALL.to_vec())
    }

    proptest! {
        /// Whatever comes in between: nothing is lost, nothing comes twice,
        /// and who is first of its class and node waits for at most 21 others.
        #[test]
        fn nothing_starves_and_nothing_is_lost(
            steps in prop::collection::vec((priority(), 0..2usize, 0..3usize), 1..300),
        ) {
            let mut queue = Queue::new(1);
            let mut waited = [0; 3];
            let mut next = [0; 3];
            let mut pushed = [0; 3];
            for (priority, pops, pushes) in steps {
                for _ in 0..pushes {
                    queue.push(priority, 0, (priority, pushed[priority as usize]));
                    pushed[priority as usize] += 1;
                }
                for _ in 0..pops {
                    let Some((class, n)) = queue.pop(0) else { continue };
                    prop_assert_eq!(n, next[class as usize]);
                    next[class as usize] += 1;
                    for other in Priority::ALL {
                        let waits = next[other as usize] < pushed[other as usize];
                        let index = other as usize;
                        waited[index] = if other == class || !waits { 0 } else { waited[index] + 1 };
                    }
                    prop_assert!(waited[1] <= 6 && waited[2] <= 17, "{:?}", waited);
                }
            }
            let left: usize = (0..3).map(|class| pushed[class] - next[class]).sum();
            prop_assert_eq!(queue.len(), left);
            prop_assert_eq!(queue.take_all().len(), left);
            prop_assert!(queue.is_empty());
        }
    }
}
