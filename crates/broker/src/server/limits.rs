//! How many connections there may be: over all listeners (`max.connections`), and from one address
//! (`max.connections.per.ip`).

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Counts the open connections of all listeners.
#[derive(Default)]
pub(crate) struct ConnectionLimits {
    open: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// How many connections there may be at this moment: both settings can be changed while the broker runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionBounds {
    pub max: usize,
    pub per_ip_max: usize,
}

/// One connection's place; dropping it gives the place up.
#[derive(Debug)]
pub(crate) struct Admission {
    ip: IpAddr,
    open: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl ConnectionLimits {
    /// A place for a connection from `ip`, or the setting that it would go beyond. Those that are open stay, whatever the
    /// bounds are by now.
    pub fn admit(&self, ip: IpAddr, bounds: ConnectionBounds) -> Result<Admission, String> {
        let ConnectionBounds { max, per_ip_max } = bounds;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= max {
            return Err(format!("max.connections={max}"));
        }
        let from_there = open.get(&ip).copied().unwrap_or(0);
        if from_there >= per_ip_max {
            return Err(format!("max.connections.per.ip={per_ip_max}"));
        }
        open.insert(ip, from_there + 1);
        Ok(Admission { ip, open: self.open.clone() })
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.ip) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                open.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_own_bound_and_all_have_one_together() {
        let limits = ConnectionLimits::default();
        let bounds = ConnectionBounds { max: 3, per_ip_max: 2 };
        let [a, b] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(IpAddr::from);
        let first = limits.admit(a, bounds).unwrap();
        let _second = limits.admit(a, bounds).unwrap();
        assert_eq!(limits.admit(a, bounds).unwrap_err(), "max.connections.per.ip=2");
        let _third = limits.admit(b, bounds).unwrap();
        assert_eq!(limits.admit(b, bounds).unwrap_err(), "max.connections=3");
        drop(first);
        assert_eq!(limits.open(), 2);
        assert!(limits.admit(a, bounds).is_ok());
    }
}
