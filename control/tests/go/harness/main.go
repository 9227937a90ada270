package harness

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"k8s.io/klog/v2"
)

// suite is what all tests of one run share: the program and the certificates
// with which its server and its agents know each other.
var suite struct {
	program string
	driver  string
	certs   string
}

// Main prepares what the tests share, runs them and returns the exit status.
// It never lets a run pass for want of a program: without one it fails. The
// server's certificate is for localhost and for the given hosts.
func Main(m *testing.M, hosts ...string) int {
	if fault, double := os.LookupEnv("ADIT_DOUBLE"); double && fault != "" {
		if !knownFault(fault) {
			fmt.Fprintf(os.Stderr, "counterparts: ADIT_DOUBLE=%s: no such defect; there are %q\n", fault, Faults())
			return 2
		}
		fmt.Fprintf(os.Stderr, "counterparts: ADIT_DOUBLE=%s: the tests run against their own double, not against adit\n", fault)
		return Run(m)
	}
	dir, err := os.MkdirTemp("", "adit-counterparts-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "counterparts:", err)
		return 2
	}
	defer os.RemoveAll(dir)
	if err := prepare(dir, hosts); err != nil {
		fmt.Fprintln(os.Stderr, "counterparts:", err)
		return 2
	}
	fmt.Fprintf(os.Stderr, "counterparts: %s --io %s\n", suite.program, suite.driver)
	return Run(m)
}

// Run is Main for tests that start no program. What the Kubernetes libraries log is shown only if a test
// failed: they report every closed connection as an error.
func Run(m *testing.M) int {
	var said bytes.Buffer
	flags := flag.NewFlagSet("klog", flag.PanicOnError)
	klog.InitFlags(flags)
	_ = flags.Parse([]string{"-logtostderr=false", "-stderrthreshold=FATAL"})
	klog.SetOutput(&said)
	status := m.Run()
	klog.Flush()
	if status != 0 && said.Len() > 0 {
		fmt.Fprintf(os.Stderr, "--- what the Kubernetes libraries logged\n%s", said.Bytes())
	}
	return status
}

// Program is the path of adit.
func Program() string { return suite.program }

// Driver is what adit is given as --io.
func Driver() string { return suite.driver }

// prepare finds or builds the program and makes the certificates.
func prepare(dir string, hosts []string) error {
	suite.driver = os.Getenv("ADIT_IO")
	if suite.driver == "" {
		suite.driver = "auto"
	}
	program, err := FindProgram()
	if err != nil {
		return err
	}
	suite.program = program
	suite.certs = filepath.Join(dir, "pki")
	certs := []string{"certs", "--out", suite.certs}
	for _, host := range hosts {
		certs = append(certs, "--host", host)
	}
	if output, err := exec.Command(program, certs...).CombinedOutput(); err != nil {
		return fmt.Errorf("adit certs: %w\n%s", err, output)
	}
	return nil
}

// FindProgram returns the absolute path of ADIT_BIN, or builds the program.
func FindProgram() (string, error) {
	if given := os.Getenv("ADIT_BIN"); given != "" {
		path, err := filepath.Abs(given)
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("ADIT_BIN (relative paths start at the package's folder): %w", err)
		}
		return path, nil
	}
	root, err := repositoryRoot()
	if err != nil {
		return "", err
	}
	fmt.Fprintln(os.Stderr, "counterparts: ADIT_BIN is not set: cargo build --release --bin adit")
	build := exec.Command("cargo", "build", "--release", "--bin", "adit")
	build.Dir, build.Stdout, build.Stderr = root, os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("building adit: %w", err)
	}
	target := os.Getenv("CARGO_TARGET_DIR")
	if target == "" {
		target = filepath.Join(root, "target")
	}
	return filepath.Join(target, "release", "adit"), nil
}

// repositoryRoot is the nearest folder above with a Cargo.lock.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "Cargo.lock")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no Cargo.lock above: set ADIT_BIN to the adit program")
		}
		dir = parent
	}
}
