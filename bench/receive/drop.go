package receive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"culvert/dataplane/xsk"
	"culvert/numa"
)

const (
	// frames, frameSize and batch are the gateway's defaults (controlplane/config), so that the limit has
	// what the gateway has.
	frames    = 8192
	frameSize = 2048
	batch     = 64
	// spinTime is how long a thread looks for frames before it sleeps, as an adaptive worker does.
	spinTime = 50 * time.Microsecond
	// napTime bounds a sleep, so that the end of the context is seen.
	napTime = 50 * time.Millisecond
)

// Drop takes every UDP packet over IPv4 that an interface receives and drops it, one thread for each CPU and
// queue: queue i is served on the i-th CPU. It runs until the context ends.
func Drop(ctx context.Context, name string, cpus []int, tallies Tallies) (err error) {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("find %q: %w", name, err)
	}
	program, err := attachRedirect(iface.Index, len(cpus))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, program.close()) }()
	ended := make(chan error, len(cpus))
	for queue, cpu := range cpus {
		go func() {
			// Never unlocked: the thread is pinned and ends with this goroutine.
			runtime.LockOSThread()
			ended <- dropQueue(ctx, program, iface.Index, queue, cpu, &tallies[queue])
		}()
	}
	for range cpus {
		err = errors.Join(err, <-ended)
	}
	return err
}

func dropQueue(ctx context.Context, program *redirect, index, queue, cpu int, tally *Tally) error {
	if err := numa.Pin(cpu); err != nil {
		return err
	}
	memory, err := numa.Alloc(frames*frameSize, -1, numa.HugeAuto)
	if err != nil {
		return err
	}
	defer memory.Close()
	socket, err := xsk.Open(xsk.Config{
		Interface: index, Queue: queue, Mode: xsk.Auto, UMEM: memory.Bytes(), FrameSize: frameSize,
		FillSize: frames, RXSize: frames, CompletionSize: 1,
	})
	if err != nil {
		return err
	}
	defer socket.Close()
	if err := program.sockets.Put(uint32(queue), uint32(socket.FD())); err != nil {
		return fmt.Errorf("give queue %d to its socket: %w", queue, err)
	}
	descs := make([]xsk.Desc, batch)
	poll := []unix.PollFd{{Fd: int32(socket.FD()), Events: unix.POLLIN}}
	idleSince := time.Now()
	for ctx.Err() == nil {
		n := socket.Receive(descs)
		if n > 0 {
			bytes := uint64(0)
			for _, desc := range descs[:n] {
				bytes += uint64(desc.Len)
			}
			socket.Free(descs[:n])
			tally.add(uint64(n), bytes)
			idleSince = time.Now()
		}
		if err := socket.Wakeup(); err != nil {
			return err
		}
		if n == 0 && time.Since(idleSince) > spinTime {
			if err := nap(poll); err != nil {
				return err
			}
			idleSince = time.Now()
		}
	}
	return nil
}

// nap waits until there is something to read, or a while.
func nap(poll []unix.PollFd) error {
	_, err := unix.Poll(poll, int(napTime.Milliseconds()))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return os.NewSyscallError("poll", err)
	}
	return nil
}
