package receive

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"time"

	"culvert/numa"
)

const (
	// pumpLine is what the pump's bodies are made of; only its length matters to a sink that counts.
	pumpLine = "plant,line=l12,sensor=s123 temperature=23.45,pressure=123.456,rpm=1234i 1700000000000000000\n"
	// pumpLines is how many a body has: the gateway's batch.points.
	pumpLines = 10_000
	// pumpPause is how long the pump waits while it has posted as much as came in.
	pumpPause = 200 * time.Microsecond
)

// Pump posts bodies to an InfluxDB-like sink so that it has been given as many bytes as the tallies say came
// in: the load on the sink, and on the CPU that sends, that a gateway without any work of its own would make.
// It runs on a CPU until the context ends.
func Pump(ctx context.Context, address, database string, cpu int, tallies Tallies) error {
	// Never unlocked: the thread is pinned and ends with this goroutine.
	runtime.LockOSThread()
	if err := numa.Pin(cpu); err != nil {
		return err
	}
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return fmt.Errorf("connect to the sink: %w", err)
	}
	defer connection.Close()
	body := bytes.Repeat([]byte(pumpLine), pumpLines)
	request := fmt.Appendf(nil, "POST /write?db=%s&precision=ns HTTP/1.1\r\nHost: %s\r\n"+
		"Content-Length: %d\r\n\r\n", database, address, len(body))
	request = append(request, body...)
	answers := bufio.NewReader(connection)
	for posted := uint64(0); ctx.Err() == nil; {
		if tallies.Sum().Bytes < posted+uint64(len(body)) {
			time.Sleep(pumpPause)
			continue
		}
		if _, err := connection.Write(request); err != nil {
			return fmt.Errorf("post to the sink: %w", err)
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			return fmt.Errorf("read the sink's answer: %w", err)
		}
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode/100 != 2 {
			return fmt.Errorf("post to the sink: %s, %w", response.Status, err)
		}
		posted += uint64(len(body))
	}
	return nil
}
