use std::collections::BTreeSet;

use varka_engine::ir::{Resource, ResourceType};

use super::*;

fn address(n: u32) -> IpAddr {
    std::net::Ipv4Addr::from(0x0a00_0000 + n).into()
}

/// A table with what is looked up for it.
#[derive(Default)]
struct Asking {
    table: Table,
    asked: RefCell<BTreeSet<IpAddr>>,
}

impl Asking {
    fn slot(&self, address: IpAddr, now: Instant) -> Option<Arc<Slot>> {
        let add = |new| assert!(self.asked.borrow_mut().insert(new), "{new} is asked for twice");
        let remove = |old| assert!(self.asked.borrow_mut().remove(&old), "{old} was not asked for");
        self.table.slot(address, now, add, remove)
    }
}

fn workload(name: &str, account: &str) -> Arc<ir::Workload> {
    Arc::new(ir::Workload {
        workload_name: name.into(),
        namespace: "shop".into(),
        trust_domain: "cluster.local".into(),
        service_account: account.into(),
        app: "shop-app".into(),
        ..ir::Workload::default()
    })
}

#[test]
fn an_address_is_asked_for_once_and_its_slot_follows_the_answers() {
    let (asking, now) = (Asking::default(), Instant::now());
    let slot = asking.slot(address(1), now).unwrap();
    assert!(Arc::ptr_eq(&slot, &asking.slot(address(1), now).unwrap()));
    assert!(matches!(found(Arc::clone(&slot), ""), Found::NotYet(_)));
    asking.table.answer(address(1), Whose::Nobody);
    assert!(matches!(found(Arc::clone(&slot), ""), Found::Unknown));
    asking.table.answer(address(1), Whose::of(workload("web", "web")));
    let Found::Known(peer) = found(Arc::clone(&slot), "") else { panic!("it is not known") };
    assert_eq!((&*peer.name, &*peer.namespace, &*peer.app), ("web", "shop", "shop-app"));
    // Nobody asked for this one.
    asking.table.answer(address(2), Whose::Nobody);
    assert_eq!(asking.table.all().len(), 1);
}

#[test]
fn a_certificate_is_never_overridden() {
    let whose = Whose::of(workload("web", "web"));
    assert!(whose.labels("spiffe://cluster.local/ns/shop/sa/web").is_some());
    for other in ["spiffe://cluster.local/ns/shop/sa/was", "spiffe://cluster.local/ns/bank/sa/web", "x"] {
        assert!(whose.labels(other).is_none(), "{other}");
    }
    // Who has no identity cannot have shown one.
    assert!(Whose::of(workload("vm", "")).labels("spiffe://cluster.local/ns/shop/sa/").is_none());
    assert!(Whose::of(workload("vm", "")).labels("").is_some());
}

#[test]
fn a_scan_makes_nothing_grow_and_what_is_used_stays() {
    let (asking, start) = (Asking::default(), Instant::now());
    let used = asking.slot(address(0), start).unwrap();
    for n in 1..3_000u32 {
        // A second passes with each, so that their rate lets all of them through.
        let now = start + Duration::from_secs(n.into());
        asking.slot(address(n), now).unwrap();
        asking.table.note_use(&used);
        assert!(asking.asked.borrow().len() <= table::MOST);
    }
    assert_eq!(asking.asked.borrow().len(), table::MOST);
    assert_eq!(asking.table.all().len(), table::MOST);
    assert!(used.is_kept() && asking.asked.borrow().contains(&address(0)));
    let known: BTreeSet<IpAddr> = asking.table.all().iter().map(|slot| slot.address()).collect();
    assert_eq!(known, *asking.asked.borrow());
    assert!(!known.contains(&address(1)), "the oldest is forgotten");
}

#[test]
fn new_addresses_are_let_through_at_a_rate() {
    let (asking, start) = (Asking::default(), Instant::now());
    let mut next = 0;
    let mut taken = |at: Instant| {
        (0..5_000)
            .filter(|_| {
                next += 1;
                asking.slot(address(next), at).is_some()
            })
            .count()
    };
    assert_eq!(taken(start), 1024);
    assert_eq!(taken(start + Duration::from_secs(1)), 64);
    // What is known already costs nothing.
    assert!(asking.slot(address(1024), start + Duration::from_secs(1)).is_some());
}

#[test]
fn an_answer_that_does_not_come_is_not_waited_for_again() {
    let (asking, now) = (Asking::default(), Instant::now());
    let slot = asking.slot(address(1), now).unwrap();
    assert!(slot.is_due(now) && slot.is_due(now + PATIENCE / 2));
    assert!(!slot.is_due(now + PATIENCE));
}

#[tokio::test]
async fn waiting_ends_with_the_answer_or_with_patience() {
    // An hour from now, so that only an answer ends the waiting.
    let (asking, late) = (Asking::default(), Instant::now() + Duration::from_secs(3600));
    let one = asking.slot(address(1), late).unwrap();
    let answering = async { asking.table.answer(address(1), Whose::Nobody) };
    tokio::join!(one.answered(), answering);
    // An answer that was there before.
    one.answered().await;
    // One that is forgotten gets none.
    let two = asking.slot(address(2), late).unwrap();
    let filling = async {
        for n in 3..=1100 {
            asking.slot(address(n), late + Duration::from_secs(n.into()));
            if !two.is_kept() {
                break;
            }
        }
    };
    tokio::join!(two.answered(), filling);
    // Nobody answers, and it was asked for long ago.
    let past = Asking::default();
    let three = past.slot(address(3), Instant::now() - PATIENCE).unwrap();
    three.answered().await;
    assert!(three.whose().is_none());
}

#[test]
fn what_the_control_plane_says_is_taken_over_by_name() {
    let workloads = Workloads::new("net");
    assert!(workloads.slot(address(1), Instant::now()).is_none(), "there is nobody to ask");
    workloads.ask_by(Lookups::default());
    let slot = workloads.slot(address(1), Instant::now()).unwrap();
    let update = |upserts: Vec<Resource>, removed: &[&str], absent: &[&str]| Update {
        kind: ResourceType::Workload,
        version: "1".into(),
        upserts,
        removed: removed.iter().map(|n| ir::Str::from(*n)).collect(),
        absent: absent.iter().map(|n| ir::Str::from(*n)).collect(),
    };
    let named = |name: &str| Resource::Workload(name.into(), workload("web", "web"));
    workloads.told(update(vec![named("/10.0.0.1"), named("other/10.0.0.1"), named("x")], &[], &[]));
    assert!(slot.whose().is_none(), "the address is of another network");
    workloads.told(update(vec![named("net/10.0.0.1")], &[], &[]));
    assert!(matches!(slot.whose().as_deref(), Some(Whose::Workload { .. })));
    // It is no longer looked up: that says nothing of the address.
    workloads.told(update(Vec::new(), &["net/10.0.0.1"], &[]));
    assert!(matches!(slot.whose().as_deref(), Some(Whose::Workload { .. })));
    workloads.told(update(Vec::new(), &["net/10.0.0.1"], &["net/10.0.0.1"]));
    assert!(matches!(slot.whose().as_deref(), Some(Whose::Nobody)));
}
