//! In which order this worker's tasks lie in `executing`, for exchange.lua to know where to look for them
//! where they are many.

/// Up to so many the list is as soon read from its ends.
const FEW: usize = 512;

/// When a task was taken, as a number.
pub type Place = u64;

#[derive(Default)]
pub struct Order {
    /// Those in the list, oldest first.
    held: Vec<Place>,
    last: Place,
}

impl Order {
    /// A task was taken, after all others.
    pub fn add(&mut self) -> Place {
        self.last += 1;
        self.held.push(self.last);
        self.last
    }

    /// These leave the list, in one step. Where there are many in it: how many, and for each that leaves
    /// how many are older.
    pub fn remove(&mut self, leaving: &[Place]) -> Option<(usize, Vec<usize>)> {
        let older = |place: &Place| self.held.partition_point(|held| held < place);
        let found =
            (self.held.len() > FEW).then(|| (self.held.len(), leaving.iter().map(older).collect()));
        match leaving {
            [] => {}
            [one] => {
                if let Ok(index) = self.held.binary_search(one) {
                    self.held.remove(index);
                }
            }
            several => {
                let mut leaving = several.to_vec();
                leaving.sort_unstable();
                let mut leaving = leaving.into_iter().peekable();
                self.held.retain(|place| {
                    while leaving.next_if(|leaves| leaves < place).is_some() {}
                    leaving.next_if_eq(place).is_none()
                });
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_many_are_older_among_those_that_are_left() {
        let mut order = Order::default();
        let places: Vec<Place> = (0..1000).map(|_| order.add()).collect();
        let ends = [places[999], places[0], places[500]];
        assert_eq!(order.remove(&ends), Some((1000, vec![999, 0, 500])));
        assert_eq!(
            order.remove(&[places[501], places[998]]),
            Some((997, vec![499, 996]))
        );
        let next = order.add();
        assert_eq!(order.remove(&[next]), Some((996, vec![995])));
    }

    #[test]
    fn it_says_nothing_where_there_are_few() {
        let mut order = Order::default();
        let places: Vec<Place> = (0..FEW).map(|_| order.add()).collect();
        assert_eq!(order.remove(&places), None);
        assert!(order.held.is_empty());
    }
}
