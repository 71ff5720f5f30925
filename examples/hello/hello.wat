;; The smallest useful workload: one call of fd_write, without a language or a library underneath.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param $fd i32) (param $iovs i32) (param $count i32) (param $written i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param $status i32)))

  (memory (export "memory") 1)
  (data (i32.const 16) "Hello from inside a Keep!\n")

  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 16)) ;; the one buffer: where it is
    (i32.store (i32.const 4) (i32.const 26)) ;; and how long
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
      (then (call $proc_exit (i32.const 1))))))
