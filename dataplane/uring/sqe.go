package uring

import "golang.org/x/sys/unix"

// Link lets the next reserved operation start only when this one has succeeded in full; else that one
// completes with ECANCELED. Both must have been reserved after one call of Room with room for both.
func (e *SQE) Link() { e.flags |= sqeLink }

// Connect connects a socket; address holds a raw socket address of exactly its length.
func (e *SQE) Connect(fd int, address []byte, token uint64) {
	e.opcode, e.fd, e.token = opConnect, int32(fd), token
	// io_connect_prep (io_uring/net.c): the length stands where others have an offset.
	e.address, e.offset = addressOf(address), uint64(len(address))
}

// Send sends bytes; flags are those of send(2). With unix.MSG_WAITALL the kernel goes on after short sends.
func (e *SQE) Send(fd int, bytes []byte, flags uint32, token uint64) {
	e.opcode, e.fd, e.token = opSend, int32(fd), token
	e.address, e.length, e.opFlags = addressOf(bytes), uint32(len(bytes)), flags
}

// SendMessage sends what a struct msghdr names; flags are those of sendmsg(2).
func (e *SQE) SendMessage(fd int, message []byte, flags uint32, token uint64) {
	e.opcode, e.fd, e.token = opSendMessage, int32(fd), token
	e.address, e.length, e.opFlags = addressOf(message), 1, flags
}

// sendZC sends bytes from where they lie.
func (e *SQE) sendZC(fd int, bytes []byte, flags uint32, token uint64) {
	e.opcode, e.fd, e.token = opSendZC, int32(fd), token
	e.address, e.length, e.opFlags = addressOf(bytes), uint32(len(bytes)), flags
}

// Recv receives up to len(into) bytes.
func (e *SQE) Recv(fd int, into []byte, token uint64) {
	e.opcode, e.fd, e.token = opRecv, int32(fd), token
	e.address, e.length = addressOf(into), uint32(len(into))
}

// CancelFD cancels every operation on a file descriptor. Each of them still completes. Bytes that a SendZC
// has handed to the network stay with it until their notification.
func (e *SQE) CancelFD(fd int, token uint64) {
	e.opcode, e.fd, e.token = opAsyncCancel, int32(fd), token
	e.opFlags = cancelAll | cancelFD
}

// Nop does nothing and completes.
func (e *SQE) Nop(token uint64) { e.opcode, e.fd, e.token = opNop, -1, token }

// Errno is the error of a completion, 0 for none.
func (c *CQE) Errno() unix.Errno {
	if c.Result < 0 && c.Flags&Notification == 0 {
		return unix.Errno(-c.Result)
	}
	return 0
}
