//! The conformance suite on the drivers of this machine's kernel.

mod uring {
    use adit_io::conformance::Kernel;
    use adit_io::uring::UringDriver;

    adit_io::conformance!(Kernel::<UringDriver, true>::new(UringDriver::new));
}

mod epoll {
    use adit_io::conformance::Kernel;
    use adit_io::epoll::EpollDriver;

    adit_io::conformance!(Kernel::<EpollDriver, false>::new(EpollDriver::new));
}
