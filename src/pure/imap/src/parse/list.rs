use super::{Bad, Parsed, Parser, status_item};
use crate::{command::List, limits};

impl Parser<'_> {
    /// RFC 9051 6.3.9; RFC 5258 with the options of RFC 5819, RFC 6154 and RFC 8440.
    pub(super) fn list(&mut self) -> Parsed<List> {
        let mut list = List::default();
        if self.cursor.peek() == Some(b'(') {
            list.extended = true;
            self.select_options(&mut list)?;
            self.cursor.space()?;
        }
        list.reference = self.pattern_text()?;
        self.cursor.space()?;
        if self.cursor.eat(b'(') {
            list.extended = true;
            loop {
                if list.patterns.len() >= limits::PATTERNS {
                    return Err(super::Refused::Limit("too many patterns"));
                }
                list.patterns.push(self.pattern_text()?);
                if self.cursor.eat(b')') {
                    break;
                }
                self.cursor.space()?;
            }
        } else {
            list.patterns.push(self.pattern_text()?);
        }
        // All are tried against every mailbox.
        let total = list.patterns.iter().fold(0usize, |sum, pattern| sum.saturating_add(pattern.len()));
        if total > limits::PATTERNS_TOTAL {
            return Err(super::Refused::Limit("patterns too long"));
        }
        if self.cursor.eat(b' ') {
            list.extended = true;
            if !self.cursor.eat_word("RETURN") {
                return Err(Bad::Syntax.into());
            }
            self.cursor.space()?;
            self.return_options(&mut list)?;
        }
        Ok(list)
    }

    fn select_options(&mut self, list: &mut List) -> Parsed<()> {
        self.cursor.list(limits::FLAGS, |cursor| {
            match cursor.name(limits::NAME)?.as_str() {
                "SUBSCRIBED" => list.select_subscribed = true,
                "SPECIAL-USE" => list.select_special_use = true,
                "RECURSIVEMATCH" => list.recursive_match = true,
                // RFC 5258 3.1: there are no remote mailboxes here, and asking for them too changes nothing.
                "REMOTE" => {}
                _ => return Err(Bad::Syntax.into()),
            }
            Ok(())
        })?;
        // RFC 5258 3.1: it only modifies another selection.
        if list.recursive_match && !list.select_subscribed && !list.select_special_use {
            return Err(Bad::Syntax.into());
        }
        // What was selected by is also told (RFC 5258 3.1).
        list.return_subscribed |= list.select_subscribed;
        list.return_special_use |= list.select_special_use;
        Ok(())
    }

    fn return_options(&mut self, list: &mut List) -> Parsed<()> {
        self.cursor.list(limits::FLAGS, |cursor| {
            match cursor.name(limits::NAME)?.as_str() {
                "SUBSCRIBED" => list.return_subscribed = true,
                "CHILDREN" => list.return_children = true,
                "SPECIAL-USE" => list.return_special_use = true,
                "STATUS" => {
                    cursor.space()?;
                    list.return_status = cursor.list(limits::FETCH_ITEMS, status_item)?;
                    if list.return_status.is_empty() {
                        return Err(Bad::Syntax.into());
                    }
                }
                _ => return Err(Bad::Syntax.into()),
            }
            Ok(())
        })?;
        Ok(())
    }
}
