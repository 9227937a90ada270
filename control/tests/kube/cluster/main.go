package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"adit.test/counterparts/harness"
)

const (
	// insideVariable is set in the process that runs the tests.
	insideVariable = "ADIT_KUBE_INSIDE"
	// programsVariable names the folder with kube-apiserver and kubectl.
	programsVariable = "ADIT_KUBE_PROGRAMS"
	// version is what the programs call themselves, as go.mod has it.
	version = "v1.36.3"
)

// Main runs the tests in a network namespace of their own and returns the exit
// status. What has to come from elsewhere (adit, kube-apiserver, kubectl) is
// built before, because in there nothing can be fetched. Where somebody else
// than root may make no namespace, one line says so and the status is success;
// whatever else is missing is a failure.
func Main(m *testing.M) int {
	if len(os.Args) > 1 && os.Args[1] == oldAgentVerb {
		return runOldAgent(os.Args[2:])
	}
	if os.Getenv(insideVariable) != "" {
		if err := ip("link", "set", "lo", "up"); err != nil {
			fmt.Fprintln(os.Stderr, "kube:", err)
			return 2
		}
		return harness.Main(m, controlPlaneAddress)
	}
	status, err := enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kube:", err)
		return 2
	}
	return status
}

// enter starts this program again in a new network namespace: as root of this
// machine or, where that is somebody else, of a user namespace.
func enter() (int, error) {
	environment, dir, err := prepare()
	if dir != "" {
		defer os.RemoveAll(dir)
	}
	if err != nil {
		return 2, err
	}
	// The child is to die with this thread, so the thread must stay.
	runtime.LockOSThread()
	inside := exec.Command("/proc/self/exe", os.Args[1:]...)
	inside.Env = append(os.Environ(), append(environment, insideVariable+"=1")...)
	inside.Stdin, inside.Stdout, inside.Stderr = os.Stdin, os.Stdout, os.Stderr
	inside.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		inside.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		inside.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		inside.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	if err := inside.Start(); err != nil {
		if os.Geteuid() == 0 {
			return 2, fmt.Errorf("root cannot make a network namespace here: %w", err)
		}
		fmt.Fprintf(os.Stderr, "kube: skipped: no network namespace can be made here (%v); run this as root\n", err)
		return 0, nil
	}
	err = inside.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// prepare finds or builds every program and returns the variables that say
// where they are. What it built of Kubernetes is in dir.
func prepare() (environment []string, dir string, err error) {
	for _, program := range []string{"etcd", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, "", fmt.Errorf("%w: `cargo xtask set-up` installs it (etcd-server, iproute2)", err)
		}
	}
	adit, err := harness.FindProgram()
	if err != nil {
		return nil, "", err
	}
	environment = []string{"ADIT_BIN=" + adit}
	programs := os.Getenv(programsVariable)
	if programs == "" {
		if dir, err = os.MkdirTemp("", "adit-kube-"); err != nil {
			return nil, "", err
		}
		programs = dir
		fmt.Fprintf(os.Stderr, "kube: %s is not set: building kube-apiserver and kubectl\n", programsVariable)
		build := exec.Command("go", "build", "-o", dir+"/",
			"-ldflags=-X k8s.io/component-base/version.gitVersion="+version, "tool")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			return nil, dir, fmt.Errorf("building kube-apiserver and kubectl: %w", err)
		}
	}
	programs, err = filepath.Abs(programs)
	return append(environment, programsVariable+"="+programs), dir, err
}

// program is the path of kube-apiserver or kubectl.
func program(name string) string { return filepath.Join(os.Getenv(programsVariable), name) }
