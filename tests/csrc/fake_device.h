// A device that is none: its table does in host code what CUDA's does, with everything that can go wrong.
//
// Addresses of its memory have a bit set that no address of the host has, so that nobody can use the one for the other.
// Memory is poisoned. What is enqueued is done at the latest moment allowed, when somebody waits for it, or at the
// earliest; so waiting too little, or filling memory too late, gives wrong results. Any call can be made to fail.
#pragma once

#include <cstddef>

extern "C" {
// When enqueued work is done: 0, when it is waited for; 1, at once.
void fake_eager(int eager);
// The n-th call (from 1) of a function of the table from now on fails, and all that follow: by name, or "running" for
// work that was enqueued, whose failure is seen by whoever waits. n = 0: none does.
void fake_fail(const char* function, int n);
// Calls of a function so far.
int fake_calls(const char* function);
// Everything that has not been given back: objects, and threads that have not left the device.
int fake_left();
// Most bytes taken at the same time since the beginning or fake_forget_peaks(): pinned, device.
size_t fake_peak(int of_device);
void fake_forget_peaks();
}
