package loadgen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"structs"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// liveRing is the ring between the sender and the program. We produce.
type liveRing struct {
	memory  []byte // of all slots
	indices []byte
	stride  int

	// Only the sender writes these.
	produced  uint64         // our next slot
	limit     uint64         // the program's index as last loaded, plus the slots
	published *atomic.Uint64 // the index that the program sees

	// Only the program writes this.
	consumed *atomic.Uint64
	idle     *atomic.Uint64
}

func mapLiveRing(packets, control *ebpf.Map, stride int) (r liveRing, err error) {
	page := unix.Getpagesize()
	size := (stride*liveSlots + page - 1) &^ (page - 1)
	r.stride = stride
	if r.memory, err = unix.Mmap(packets.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return r, fmt.Errorf("map the ring of packets: %w", err)
	}
	if r.indices, err = unix.Mmap(control.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED); err != nil {
		return r, errors.Join(fmt.Errorf("map the ring's indices: %w", err), unix.Munmap(r.memory))
	}
	r.published = (*atomic.Uint64)(unsafe.Pointer(&r.indices[liveProducedAt]))
	r.consumed = (*atomic.Uint64)(unsafe.Pointer(&r.indices[liveConsumedAt]))
	r.idle = (*atomic.Uint64)(unsafe.Pointer(&r.indices[liveIdleAt]))
	r.limit = liveSlots
	return r, nil
}

func (r *liveRing) unmap() error {
	if r.memory == nil {
		return nil
	}
	err := errors.Join(unix.Munmap(r.memory), unix.Munmap(r.indices))
	*r = liveRing{}
	return err
}

// room is how many slots may be filled. Pairs with the program's atomic addition to what it has consumed: it
// reads the slots below no more.
func (r *liveRing) room() int {
	if r.limit-r.produced < burstMax {
		r.limit = r.consumed.Load() + liveSlots
	}
	return int(r.limit - r.produced)
}

// held is how many packets the program has not taken.
func (r *liveRing) held() int {
	if r.memory == nil {
		return 0
	}
	return int(r.produced - r.consumed.Load())
}

// slot is the memory of the next packet: its head and the frame behind it. There is room.
func (r *liveRing) slot() []byte {
	at := int(r.produced%liveSlots) * r.stride
	return r.memory[at : at+r.stride : at+r.stride]
}

// put says how long the frame in the slot is, and goes on to the next slot.
func (r *liveRing) put(slot []byte, length int) {
	binary.NativeEndian.PutUint32(slot, uint32(length))
	r.produced++
}

// submit lets the program see what was put. Pairs with its atomic read of what is produced.
func (r *liveRing) submit() { r.published.Store(r.produced) }

const (
	// testXDPLiveFrames is BPF_F_TEST_XDP_LIVE_FRAMES.
	testXDPLiveFrames = 1 << 1
	// liveRepeat is how often one call runs the program: the kernel's counter has 32 bits.
	liveRepeat = 1 << 31
	// liveBatch is how many frames the kernel hands over together. Between batches it runs what else has to
	// run; it is its own default, NAPI_POLL_WEIGHT.
	liveBatch = 64
)

// testRun is the part "test" of union bpf_attr (include/uapi/linux/bpf.h).
type testRun struct {
	_ structs.HostLayout

	program, retval         uint32
	dataSizeIn, dataSizeOut uint32
	dataIn, dataOut         uint64
	repeat, duration        uint32
	contextIn, contextOut   uint32
	contextInAt, contextAt  uint64
	flags, cpu, batch       uint32
	_                       uint32
}

// runLive runs the program over copies of a frame until it has done so liveRepeat times or a signal comes.
func runLive(program int, frame []byte) unix.Errno {
	attributes := testRun{
		program: uint32(program), dataSizeIn: uint32(len(frame)),
		dataIn: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(frame)))),
		repeat: liveRepeat, flags: testXDPLiveFrames, batch: liveBatch,
	}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_TEST_RUN, uintptr(unsafe.Pointer(&attributes)),
		unsafe.Sizeof(attributes))
	runtime.KeepAlive(frame)
	return errno
}
