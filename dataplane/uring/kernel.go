package uring

import "structs"

// The constants mirror include/uapi/linux/io_uring.h.
const (
	setupCQSize       = 1 << 3
	setupSubmitAll    = 1 << 7
	setupCoopTaskrun  = 1 << 8
	setupTaskrunFlag  = 1 << 9
	setupSingleIssuer = 1 << 12
	setupDeferTaskrun = 1 << 13
	setupNoSQArray    = 1 << 16 // since 6.6

	featSingleMmap = 1 << 0
	featExtArg     = 1 << 8

	offsetRings = 0
	offsetSQEs  = 0x10000000

	sqOverflow = 1 << 1 // completions wait outside of the full completion ring
	sqTaskrun  = 1 << 2 // work waits that only Enter runs

	enterGetEvents = 1 << 0
	enterExtArg    = 1 << 3

	registerEventFD       = 4
	registerProbe         = 8
	registerBuffersTable  = 15 // IORING_REGISTER_BUFFERS2, since 5.13
	registerBuffersUpdate = 16 // since 5.13

	registerSparse = 1 << 0 // since 5.19

	sqeLink = 1 << 2

	sendFixedBuffer = 1 << 2
	sendReportUsage = 1 << 3 // since 6.2

	cancelAll = 1 << 0
	cancelFD  = 1 << 1

	probeSupported = 1 << 0
	probeOps       = 256
)

// The operations that the package uses; struct io_uring_sqe, field opcode.
const (
	opNop         = 0
	opSendMessage = 9
	opAsyncCancel = 14
	opConnect     = 16
	opSend        = 26
	opRecv        = 27
	opSendZC      = 47 // since 6.0
)

// Bits of CQE.Flags.
const (
	// More tells that further completions of the same operation follow. It stands on errors as well.
	More = 1 << 1
	// Notification tells that the kernel has let go of the bytes of a SendZC; Result then says how.
	Notification = 1 << 3
)

// copied is the bit of a notification's result that tells that the kernel copied the bytes after all.
const copied = 1 << 31

// SQE mirrors struct io_uring_sqe. It is filled in by its methods.
type SQE struct {
	_          structs.HostLayout
	opcode     uint8
	flags      uint8
	ioprio     uint16
	fd         int32
	offset     uint64
	address    uint64
	length     uint32
	opFlags    uint32
	token      uint64
	buffer     uint16
	personal   uint16
	fileIndex  uint32
	address3   uint64
	padAddress uint64
}

// CQE mirrors struct io_uring_cqe: one operation's completion.
type CQE struct {
	_ structs.HostLayout
	// Token is what the operation was submitted with; the kernel calls it user_data.
	Token uint64
	// Result is a count of bytes, or a negative errno.
	Result int32
	// Flags has the bits More and Notification.
	Flags uint32
}

// Copied tells, for a notification, that the kernel copied the bytes: the path cannot send them from where
// they lie. Kernels before 6.2 don't tell; there it is always false.
func (c *CQE) Copied() bool { return uint32(c.Result)&copied != 0 }

// submissionOffsets mirrors struct io_sqring_offsets.
type submissionOffsets struct {
	_                                                      structs.HostLayout
	head, tail, mask, entries, flags, dropped, array, resv uint32
	userAddress                                            uint64
}

// completionOffsets mirrors struct io_cqring_offsets.
type completionOffsets struct {
	_                                                      structs.HostLayout
	head, tail, mask, entries, overflow, cqes, flags, resv uint32
	userAddress                                            uint64
}

// params mirrors struct io_uring_params.
type params struct {
	_                           structs.HostLayout
	sqEntries, cqEntries, flags uint32
	sqThreadCPU, sqThreadIdle   uint32
	features, wqFD              uint32
	resv                        [3]uint32
	submission                  submissionOffsets
	completion                  completionOffsets
}

// eventsArgument mirrors struct io_uring_getevents_arg.
type eventsArgument struct {
	_           structs.HostLayout
	mask        uint64
	maskSize    uint32
	minWaitUsec uint32
	timeout     uint64 // address of a struct __kernel_timespec
}

// timespec mirrors struct __kernel_timespec.
type timespec struct {
	_                    structs.HostLayout
	seconds, nanoseconds int64
}

// bufferTable mirrors struct io_uring_rsrc_register.
type bufferTable struct {
	_          structs.HostLayout
	count      uint32
	flags      uint32
	resv       uint64
	from, tags uint64 // data there: address of as many struct iovec; 0 where all are empty
}

// bufferUpdate mirrors struct io_uring_rsrc_update2.
type bufferUpdate struct {
	_      structs.HostLayout
	offset uint32
	resv   uint32
	from   uint64 // data there: address of as many struct iovec
	tags   uint64
	count  uint32
	resv2  uint32
}

// probe mirrors struct io_uring_probe with all its entries.
type probe struct {
	_              structs.HostLayout
	lastOp, length uint8
	resv           uint16
	resv2          [3]uint32
	ops            [probeOps]struct {
		op, resv uint8
		flags    uint16
		resv2    uint32
	}
}
