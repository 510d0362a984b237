//! Who may do what.

/// A caller's role. An admin may do what an operator may, an operator what a viewer may.
/// `Node` stands apart: it is for host daemons, and no person holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Viewer,
    Operator,
    Admin,
    Node,
}

impl Role {
    /// Whether a caller with this role may call a method that asks for `needed`.
    pub fn may(self, needed: Role) -> bool {
        match (self, needed) {
            (Role::Node, Role::Node) => true,
            // A node reads what any viewer reads, and nothing of a person's writes.
            (Role::Node, Role::Viewer) => true,
            (Role::Node, Role::Operator | Role::Admin) => false,
            (Role::Viewer | Role::Operator | Role::Admin, Role::Node) => false,
            (have, needed) => have >= needed,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
            Role::Node => "node",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Role::{self, *};

    #[test]
    fn the_whole_table() {
        let roles = [Viewer, Operator, Admin, Node];
        let may: Vec<Vec<bool>> =
            roles.iter().map(|have| roles.iter().map(|need| have.may(*need)).collect()).collect();
        assert_eq!(
            may,
            [
                [true, false, false, false],
                [true, true, false, false],
                [true, true, true, false],
                [true, false, false, true],
            ]
        );
        assert_eq!(Role::Admin.as_str(), "admin");
    }
}
