//! THREAD (RFC 5256 3): messages arranged into trees, without recursion.

use crate::Out;
use std::collections::{HashMap, HashSet};

/// What one message is threaded by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadRow<'t> {
    /// The number to answer with.
    pub number: u32,
    /// `Date`, or INTERNALDATE when there is none.
    pub date: i64,
    /// `Message-ID`.
    pub message_id: Option<&'t str>,
    /// `References`, or `In-Reply-To`; oldest first, at most [`pure_index::MAX_REFERENCES`].
    pub references: Vec<&'t str>,
    /// Base subject.
    pub subject: &'t str,
    /// Whether the subject had a mark of a reply or forward.
    pub is_reply: bool,
}

/// Steps up a tree to look for a cycle; deeper links are not made.
const MAX_ASCENT: usize = 1000;
/// Such steps for all messages together: hundreds for each where there are very many. Without any left, nothing more is linked.
const MAX_STEPS: usize = 20_000_000;

/// A tree of messages; a node without a number stands for a message that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    row: Option<usize>,
    parent: Option<usize>,
    children: Vec<usize>,
}

/// Threads in the order of the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forest {
    nodes: Vec<Node>,
    numbers: Vec<Option<u32>>,
    roots: Vec<usize>,
}

/// RFC 5256 3 ORDEREDSUBJECT: by subject, the oldest message of a subject on top of all others.
pub fn ordered_subject(rows: &[ThreadRow<'_>]) -> Forest {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| match (rows.get(*a), rows.get(*b)) {
        (Some(a), Some(b)) => a.subject.cmp(b.subject).then(a.date.cmp(&b.date)).then(a.number.cmp(&b.number)),
        _ => std::cmp::Ordering::Equal,
    });
    let mut build = Builder { rows, nodes: vec![], steps: MAX_STEPS };
    let mut roots: Vec<usize> = vec![];
    for row in order {
        let node = build.add(Some(row));
        match roots.last().copied().filter(|root| build.subject(*root) == rows.get(row).map(|r| r.subject)) {
            Some(root) => build.link(root, node),
            None => roots.push(node),
        }
    }
    roots.sort_by_key(|root| build.key(*root));
    build.finish(roots)
}

/// RFC 5256 3 REFERENCES.
pub fn references(rows: &[ThreadRow<'_>]) -> Forest {
    let mut build = Builder { rows, nodes: vec![], steps: MAX_STEPS };
    build.link_references();
    let roots: Vec<usize> = (0..build.nodes.len()).filter(|n| build.nodes.get(*n).is_some_and(|node| node.parent.is_none())).collect();
    let roots = build.prune(roots);
    build.sort_children(&roots);
    let mut roots = roots;
    roots.sort_by_key(|root| build.key(*root));
    let mut roots = build.merge_subjects(roots);
    build.sort_children(&roots);
    roots.sort_by_key(|root| build.key(*root));
    build.finish(roots)
}

struct Builder<'r> {
    rows: &'r [ThreadRow<'r>],
    nodes: Vec<Node>,
    /// Of [`MAX_STEPS`], those that are left.
    steps: usize,
}

impl<'r> Builder<'r> {
    fn add(&mut self, row: Option<usize>) -> usize {
        self.nodes.push(Node { row, parent: None, children: vec![] });
        self.nodes.len() - 1
    }

    fn row(&self, node: usize) -> Option<&'r ThreadRow<'r>> {
        self.rows.get(self.nodes.get(node)?.row?)
    }

    fn is_dummy(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|n| n.row.is_none())
    }

    /// The message of a node; of its first child when it has none itself (RFC 5256 3 step 4).
    fn first_row(&self, node: usize) -> Option<&'r ThreadRow<'r>> {
        self.row(node).or_else(|| self.row(*self.nodes.get(node)?.children.first()?))
    }

    fn subject(&self, node: usize) -> Option<&str> {
        self.first_row(node).map(|row| row.subject)
    }

    fn key(&self, node: usize) -> (i64, u32) {
        self.first_row(node).map_or((i64::MAX, u32::MAX), |row| (row.date, row.number))
    }

    fn link(&mut self, parent: usize, child: usize) {
        if let Some(node) = self.nodes.get_mut(child) {
            node.parent = Some(parent);
        }
        if let Some(node) = self.nodes.get_mut(parent) {
            node.children.push(child);
        }
    }

    /// Whether `parent` lies below `child`, or too deep to say. Attack case IMAP-15.
    fn would_loop(&mut self, parent: usize, child: usize) -> bool {
        let mut at = Some(parent);
        for _ in 0..MAX_ASCENT.min(self.steps) {
            self.steps = self.steps.saturating_sub(1);
            match at {
                None => return false,
                Some(node) if node == child => return true,
                Some(node) => at = self.nodes.get(node).and_then(|n| n.parent),
            }
        }
        true
    }

    /// Steps 3: nodes without a message disappear, their children take their place; at the top only when there is one child.
    fn prune(&mut self, roots: Vec<usize>) -> Vec<usize> {
        // Children before parents, so that what a dummy hands up is final.
        let mut order = roots.clone();
        let mut at = 0;
        while let Some(node) = order.get(at).copied() {
            if let Some(node) = self.nodes.get(node) {
                order.extend(&node.children);
            }
            at += 1;
        }
        for node in order.into_iter().rev() {
            let children = self.nodes.get_mut(node).map(|n| std::mem::take(&mut n.children)).unwrap_or_default();
            let mut kept = vec![];
            for child in children {
                if self.is_dummy(child) {
                    kept.append(&mut self.nodes.get_mut(child).map(|n| std::mem::take(&mut n.children)).unwrap_or_default());
                } else {
                    kept.push(child);
                }
            }
            if let Some(node) = self.nodes.get_mut(node) {
                node.children = kept;
            }
        }
        let mut out = vec![];
        for root in roots {
            match self.nodes.get(root).map(|n| n.children.as_slice()) {
                Some([]) if self.is_dummy(root) => {}
                Some([only]) if self.is_dummy(root) => out.push(*only),
                _ => out.push(root),
            }
        }
        out
    }

    /// Steps 4 and 6: siblings by date, the lowest level first since a dummy is dated by its first child.
    fn sort_children(&mut self, roots: &[usize]) {
        let mut order = roots.to_vec();
        let mut at = 0;
        while let Some(node) = order.get(at).copied() {
            if let Some(node) = self.nodes.get(node) {
                order.extend(&node.children);
            }
            at += 1;
        }
        for node in order.into_iter().rev() {
            let mut children = self.nodes.get_mut(node).map(|n| std::mem::take(&mut n.children)).unwrap_or_default();
            children.sort_by_key(|child| self.key(*child));
            if let Some(node) = self.nodes.get_mut(node) {
                node.children = children;
            }
        }
    }

    /// Step 5: threads of one subject become one.
    fn merge_subjects(&mut self, roots: Vec<usize>) -> Vec<usize> {
        let rows = self.rows;
        let subject_of = |this: &Self, node: usize| -> Option<&str> {
            let at = this.nodes.get(node)?;
            let row = at.row.or_else(|| this.nodes.get(*at.children.first()?)?.row)?;
            rows.get(row).map(|row| row.subject).filter(|subject| !subject.is_empty())
        };
        let is_reply = |this: &Self, node: usize| this.first_row(node).is_some_and(|row| row.is_reply);
        let mut table: HashMap<&str, usize> = HashMap::new();
        for root in &roots {
            let Some(subject) = subject_of(self, *root) else { continue };
            // 5.B: a message that is there gives way to one that is not, or as a reply to one that is none; a dummy to nobody.
            let better = table
                .get(subject)
                .is_none_or(|entry| !self.is_dummy(*entry) && (self.is_dummy(*root) || (is_reply(self, *entry) && !is_reply(self, *root))));
            if better {
                table.insert(subject, *root);
            }
        }
        let mut gone = vec![];
        let mut added = vec![];
        let mut under_new_top = HashSet::new();
        for root in &roots {
            let Some((subject, entry)) = subject_of(self, *root).and_then(|s| table.get(s).map(|entry| (s, *entry))) else { continue };
            // One that lies under a new top already had been preferred to roots before it.
            if entry == *root || under_new_top.contains(root) {
                continue;
            }
            match (self.is_dummy(entry), self.is_dummy(*root)) {
                (true, true) => {
                    for child in self.nodes.get_mut(*root).map(|n| std::mem::take(&mut n.children)).unwrap_or_default() {
                        self.link(entry, child);
                    }
                }
                (true, false) => self.link(entry, *root),
                (false, _) if is_reply(self, *root) && !is_reply(self, entry) => self.link(entry, *root),
                (false, _) => {
                    let both = self.add(None);
                    self.link(both, entry);
                    self.link(both, *root);
                    gone.push(entry);
                    under_new_top.insert(entry);
                    added.push(both);
                    table.insert(subject, both);
                }
            }
            gone.push(*root);
        }
        gone.sort_unstable();
        let mut out: Vec<usize> = roots.into_iter().chain(added).filter(|root| gone.binary_search(root).is_err()).collect();
        out.dedup();
        out
    }

    fn finish(self, roots: Vec<usize>) -> Forest {
        let numbers = self.nodes.iter().map(|node| node.row.and_then(|row| self.rows.get(row)).map(|row| row.number)).collect();
        Forest { nodes: self.nodes, numbers, roots }
    }
}

impl Builder<'_> {
    /// Steps 1 and 2.
    fn link_references(&mut self) {
        let rows = self.rows;
        let mut by_id: HashMap<&str, usize> = HashMap::new();
        for (index, row) in rows.iter().enumerate() {
            // 1.A: a second message of the same identifier stands alone.
            let known = row.message_id.and_then(|id| by_id.get(id).copied());
            let own = match known.filter(|node| self.is_dummy(*node)) {
                Some(node) => {
                    if let Some(node) = self.nodes.get_mut(node) {
                        node.row = Some(index);
                    }
                    node
                }
                None => self.add(Some(index)),
            };
            if let (None, Some(id)) = (known, row.message_id) {
                by_id.insert(id, own);
            }
            let mut before: Option<usize> = None;
            for id in row.references.iter().take(pure_index::MAX_REFERENCES) {
                let node = match by_id.get(id) {
                    Some(node) => *node,
                    None => {
                        let node = self.add(None);
                        by_id.insert(id, node);
                        node
                    }
                };
                if let Some(parent) = before {
                    let free = self.nodes.get(node).is_some_and(|n| n.parent.is_none());
                    if free && !self.would_loop(parent, node) {
                        self.link(parent, node);
                    }
                }
                before = Some(node);
            }
            // 1.B: the last reference is the parent, whatever others said before.
            if let Some(parent) = before
                && self.nodes.get(own).is_some_and(|n| n.parent != Some(parent))
                && !self.would_loop(parent, own)
            {
                // The old parent forgets it below, all at once.
                self.link(parent, own);
            }
            if before.is_none()
                && let Some(node) = self.nodes.get_mut(own)
            {
                // 1.B: or none. What put it below another was not told whole.
                node.parent = None;
            }
        }
        // Who went from one parent to another, and perhaps back, is in each list; the parents are right.
        self.nodes.iter_mut().for_each(|node| node.children.clear());
        for child in 0..self.nodes.len() {
            let parent = self.nodes.get(child).and_then(|node| node.parent);
            if let Some(parent) = parent.and_then(|parent| self.nodes.get_mut(parent)) {
                parent.children.push(child);
            }
        }
    }
}

enum Step {
    Thread(usize),
    Close,
}

/// `* THREAD ...` (RFC 5256 BASE.7.2.THREAD).
pub fn thread_response(out: &mut Out, forest: &Forest) {
    out.text("* THREAD");
    if !forest.roots.is_empty() {
        out.text(" ");
    }
    let mut steps: Vec<Step> = forest.roots.iter().rev().map(|root| Step::Thread(*root)).collect();
    while let Some(step) = steps.pop() {
        let Step::Thread(mut at) = step else {
            out.text(")");
            continue;
        };
        out.text("(");
        steps.push(Step::Close);
        // One child continues the line; several are threads of their own.
        loop {
            let number = forest.numbers.get(at).copied().flatten();
            if let Some(number) = number {
                out.display(number);
            }
            match forest.nodes.get(at).map(|n| n.children.as_slice()) {
                Some([only]) => {
                    if number.is_some() {
                        out.text(" ");
                    }
                    at = *only;
                }
                Some(several @ [_, ..]) => {
                    if number.is_some() {
                        out.text(" ");
                    }
                    steps.extend(several.iter().rev().map(|child| Step::Thread(*child)));
                    break;
                }
                _ => break,
            }
        }
    }
    out.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'t>(number: u32, id: &'t str, references: &[&'t str], subject: &'t str) -> ThreadRow<'t> {
        ThreadRow {
            number,
            date: i64::from(number),
            message_id: (!id.is_empty()).then_some(id),
            references: references.to_vec(),
            subject: subject.trim_start_matches("re:"),
            is_reply: subject.starts_with("re:"),
        }
    }

    fn text(forest: &Forest) -> String {
        let mut out = Out::new(false);
        thread_response(&mut out, forest);
        String::from_utf8(out.bytes().to_vec()).unwrap().trim_end().to_owned()
    }

    #[test]
    fn references_make_trees() {
        let rows = [
            row(1, "a", &[], ""),
            row(2, "b", &["a"], ""),
            row(3, "c", &["a", "b"], ""),
            row(4, "d", &["a"], ""),
            row(5, "e", &["missing"], ""),
            row(6, "f", &["missing"], ""),
            row(7, "g", &["gone"], ""),
        ];
        assert_eq!(text(&references(&rows)), "* THREAD (1 (2 3)(4))((5)(6))(7)");
        assert_eq!(text(&references(&[])), "* THREAD");
    }

    #[test]
    fn subjects_join_threads() {
        let rows = [row(1, "a", &[], "x"), row(2, "b", &[], "re:x"), row(3, "c", &[], "y"), row(4, "d", &[], "y")];
        assert_eq!(text(&references(&rows)), "* THREAD (1 2)((3)(4))");
        let rows = [row(1, "a", &[], "re:x"), row(2, "b", &[], "x"), row(3, "c", &["n"], "x"), row(4, "d", &["n"], "x")];
        assert_eq!(text(&references(&rows)), "* THREAD ((1)(2)(3)(4))");
    }

    /// RFC 5256 3 REFERENCES 1.B: who refers to nobody is below nobody, whatever others said.
    #[test]
    fn a_message_without_references_is_a_root() {
        let rows = [row(1, "c", &["a", "m"], ""), row(2, "m", &[], ""), row(3, "a", &[], "")];
        assert_eq!(text(&references(&rows)), "* THREAD (2 1)(3)");
    }

    /// From one parent to none and back to it: told once.
    #[test]
    fn who_comes_back_to_a_parent_is_there_once() {
        let rows = [row(1, "c", &["a", "m"], ""), row(2, "m", &[], ""), row(3, "d", &["a", "m"], ""), row(4, "a", &[], "")];
        assert_eq!(text(&references(&rows)), "* THREAD (4 2 (1)(3))");
    }

    /// 5.B: a dummy keeps its subject, also when what is below it are replies.
    #[test]
    fn a_dummy_gives_way_to_nobody() {
        let rows = [row(1, "a", &["m"], "re:x"), row(2, "b", &["m"], "re:x"), row(3, "c", &[], "x")];
        assert_eq!(text(&references(&rows)), "* THREAD ((1)(2)(3))");
    }

    /// A thread that is preferred to one before it, for its subject, and comes under a new top with it: found by fuzzing.
    #[test]
    fn a_thread_that_was_joined_before_its_turn_is_told_once() {
        let rows = [
            row(1, "a", &["m"], "re:x"),
            row(2, "b", &["m"], "re:x"),
            row(3, "c", &[], "x"),
            row(4, "d", &["n"], "re:x"),
            row(5, "e", &["n"], "re:x"),
            row(6, "f", &[], "x"),
        ];
        let told = text(&references(&rows));
        let mut numbers: Vec<&str> = told.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, ["1", "2", "3", "4", "5", "6"], "{told}");
    }

    #[test]
    fn a_message_twice_appears_twice() {
        let rows = [row(1, "a", &[], ""), row(2, "a", &[], ""), row(3, "", &["a"], ""), row(4, "", &[], "")];
        assert_eq!(text(&references(&rows)), "* THREAD (1 3)(2)(4)");
    }

    /// Attack case IMAP-15: cycles and long lists of references end.
    #[test]
    fn cycles_are_cut() {
        let rows = [row(1, "a", &["b"], ""), row(2, "b", &["a"], ""), row(3, "c", &["c"], ""), row(4, "d", &["d", "e", "d"], "")];
        let text_of = text(&references(&rows));
        for number in 1..=4 {
            assert_eq!(text_of.matches(&number.to_string()).count(), 1, "{text_of}");
        }
        let many: Vec<String> = (0..100_000).map(|n| format!("r{n}")).collect();
        let mut long = row(1, "a", &[], "");
        long.references = many.iter().map(String::as_str).collect();
        assert_eq!(text(&references(&[long])), "* THREAD (1)");
    }

    #[test]
    fn a_long_chain_is_no_recursion() {
        let names: Vec<String> = (0..=20_000).map(|n| format!("m{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // Each refers to the one before it.
        let rows: Vec<_> = (1u32..).zip(names.windows(2)).map(|(n, pair)| row(n, pair[1], &pair[..1], "")).collect();
        let text_of = text(&references(&rows));
        assert_eq!(text_of.split([' ', '(', ')']).filter(|w| w.parse::<u32>().is_ok()).count(), 20_000);
    }

    /// Attack case IMAP-15 and its like: looking for loops, and moving children from parent to parent, stays cheap.
    #[test]
    fn hostile_references_cost_a_bounded_number_of_steps() {
        let names = |prefix: &str| -> Vec<String> { (0..20_000).map(|n| format!("{prefix}{n}")).collect() };
        let (chain, others, parents) = (names("c"), names("x"), names("a"));
        // A chain, then messages that offer its top as a child of its end, again and again.
        let mut rows: Vec<ThreadRow<'_>> = (1..=999).map(|n| row(n as u32, &chain[n], &[&chain[n - 1]], "")).collect();
        let offers: Vec<&str> = (0..200).map(|n| if n % 2 == 0 { &*chain[999] } else { &*chain[0] }).collect();
        rows.extend((0..250).map(|n| row(1_000 + n as u32, &others[n], &offers, "")));
        let mut build = Builder { rows: &rows, nodes: vec![], steps: MAX_STEPS };
        build.link_references();
        assert_eq!(build.steps, 0, "the limit is what ended it");
        assert_eq!(references(&rows).numbers.iter().flatten().count(), rows.len());
        // Many children of one parent, each of which says later that its parent is another.
        let mut rows: Vec<ThreadRow<'_>> =
            (1u32..).zip(others.iter().zip(&parents)).map(|(n, (own, parent))| row(n, own, &["r", parent], "")).collect();
        rows.extend((30_000u32..).zip(&parents).map(|(n, own)| row(n, own, &["x"], "")));
        assert_eq!(references(&rows).numbers.iter().flatten().count(), rows.len());
    }

    #[test]
    fn ordered_by_subject() {
        let rows = [row(1, "", &[], "b"), row(2, "", &[], "a"), row(3, "", &[], "re:b"), row(4, "", &[], "b")];
        assert_eq!(text(&ordered_subject(&rows)), "* THREAD (1 (3)(4))(2)");
    }
}
