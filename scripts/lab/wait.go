package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"time"
)

// startLimit is how long a program may take until it answers.
const startLimit = 30 * time.Second

// Await polls until a program answers, or says with its last words why it does not.
func Await(ctx context.Context, name string, child *Child, ready func() error) error {
	deadline := time.Now().Add(startLimit)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if child.Exited() {
			return fmt.Errorf("start %s: it ended: %w\n%s", name, child.err, child.LastWords())
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("start %s: no answer within %s: %w\n%s",
				name, startLimit, err, child.LastWords())
		}
		if err := Pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// Pause sleeps, unless the context ends first.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return errors.New("interrupted")
	case <-time.After(d):
		return nil
	}
}

// Fetch gets a document; an answer that is not 200 is an error with its text.
func Fetch(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", url, err)
	}
	if response.StatusCode/100 != 2 {
		return nil, fmt.Errorf("ask %s: %s: %.200s", url, response.Status, body)
	}
	return body, nil
}

// Installed tells whether a program is there.
func Installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// Output runs a program to its end and returns what it wrote.
func Output(program string, arguments ...string) (string, error) {
	out, err := exec.Command(program, arguments...).Output()
	if err != nil {
		return "", fmt.Errorf("run %s: %w", program, err)
	}
	return string(out), nil
}
