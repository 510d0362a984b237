//! What libvirt is busy with for a guest: whether it is being sent away or received, and how far.

use std::ffi::{CStr, c_int};

use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt::sys;

use crate::hypervisor::MigrationProgress;

/// A job's figures; 0 where libvirt does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    operation: u32,
    pub elapsed_ms: u64,
    pub downtime_ms: u64,
    pub total_bytes: u64,
    pub sent_bytes: u64,
    pub remaining_bytes: u64,
    pub pass: u64,
}

impl Figures {
    /// # Safety
    /// `params` points to `count` parameters (or `count` is 0), all alive for the time of the call.
    pub unsafe fn read(params: sys::virTypedParameterPtr, count: c_int) -> Self {
        let number = |name: &CStr| {
            let mut value = 0;
            // SAFETY: the caller's promise; a name that is not there, or of another type, changes nothing.
            let found = unsafe { sys::virTypedParamsGetULLong(params, count, name.as_ptr(), &mut value) };
            if found == 1 { value } else { 0 }
        };
        let mut operation: c_int = 0;
        // SAFETY: as above.
        unsafe {
            sys::virTypedParamsGetInt(params, count, sys::VIR_DOMAIN_JOB_OPERATION.as_ptr(), &mut operation)
        };
        Figures {
            operation: operation as u32,
            elapsed_ms: number(sys::VIR_DOMAIN_JOB_TIME_ELAPSED),
            downtime_ms: number(sys::VIR_DOMAIN_JOB_DOWNTIME),
            total_bytes: number(sys::VIR_DOMAIN_JOB_DATA_TOTAL),
            sent_bytes: number(sys::VIR_DOMAIN_JOB_DATA_PROCESSED),
            remaining_bytes: number(sys::VIR_DOMAIN_JOB_DATA_REMAINING),
            pass: number(sys::VIR_DOMAIN_JOB_MEMORY_ITERATION),
        }
    }
}

impl From<Figures> for MigrationProgress {
    fn from(f: Figures) -> Self {
        MigrationProgress {
            elapsed_ms: f.elapsed_ms,
            total_bytes: f.total_bytes,
            sent_bytes: f.sent_bytes,
            remaining_bytes: f.remaining_bytes,
            pass: f.pass,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Nothing, or nothing that concerns PVC.
    None,
    /// It is being received.
    Incoming,
    /// It is being sent away.
    Outgoing(Figures),
}

/// Asks for a guest's job. May wait for as long as libvirt works on the guest (up to 30 s).
pub(super) fn query(domain: &Domain) -> Result<Job, Error> {
    let (mut kind, mut params, mut count): (c_int, _, c_int) = (0, std::ptr::null_mut(), 0);
    // SAFETY: the domain is alive and the three places are ours; libvirt allocates the parameters.
    let asked = unsafe { sys::virDomainGetJobStats(domain.as_ptr(), &mut kind, &mut params, &mut count, 0) };
    if asked < 0 {
        let error = Error::last_error();
        return match error.code() {
            // How libvirt says of a guest that is being received that only the source knows.
            ErrorNumber::OperationUnsupported if domain.is_active()? => Ok(Job::Incoming),
            ErrorNumber::OperationUnsupported | ErrorNumber::OperationInvalid | ErrorNumber::NoSupport => {
                Ok(Job::None)
            }
            _ => Err(error),
        };
    }
    // SAFETY: libvirt has just filled them.
    let figures = unsafe { Figures::read(params, count) };
    // SAFETY: libvirt's own, given to us to free; null with 0 is fine.
    unsafe { sys::virTypedParamsFree(params, count) };
    let runs = [sys::VIR_DOMAIN_JOB_BOUNDED, sys::VIR_DOMAIN_JOB_UNBOUNDED].contains(&(kind as u32));
    Ok(match figures.operation {
        sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT if runs => Job::Outgoing(figures),
        sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN if runs => Job::Incoming,
        _ => Job::None,
    })
}

/// Breaks the guest's job off.
pub(super) fn abort(domain: &Domain) -> Result<(), Error> {
    // SAFETY: the domain is alive.
    let aborted = unsafe { sys::virDomainAbortJob(domain.as_ptr()) };
    if aborted < 0 { Err(Error::last_error()) } else { Ok(()) }
}
