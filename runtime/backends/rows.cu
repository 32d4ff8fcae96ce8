// Copies of states between streams' slots and the rows of a batch. The runtime loads rows.ptx; after a change here, make it anew in this folder:
//
//   nvrtc=$(mktemp -d) && python3 -m venv $nvrtc && $nvrtc/bin/pip install nvidia-cuda-nvrtc-cu12==12.1.105
//   $nvrtc/bin/python - <<'END'
//   import ctypes, glob, hashlib, sys
//   nvrtc = ctypes.CDLL(glob.glob(sys.prefix + "/lib/*/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12")[0])
//   source, program, size = open("rows.cu", "rb").read(), ctypes.c_void_p(), ctypes.c_size_t()
//   nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"rows.cu", 0, None, None)
//   if nvrtc.nvrtcCompileProgram(program, 1, (ctypes.c_char_p * 1)(b"--gpu-architecture=compute_75")):
//       sys.exit("rows.cu does not compile")
//   nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size))
//   ptx = ctypes.create_string_buffer(size.value)
//   nvrtc.nvrtcGetPTX(program, ptx)
//   made_of = f"// Made of rows.cu with sha256 {hashlib.sha256(source).hexdigest()}\n"
//   open("rows.ptx", "wb").write(made_of.encode() + ptx.value)
//   END
//
// NVRTC 12.1 writes PTX 8.1, which every driver from 530 on compiles for its GPU, a T4 (7.5) or a later one.

typedef unsigned long long Size;

struct Row {
    int reads;   // slot of the state that a step begins with; below 0 it begins with zeros
    int writes;  // slot that takes the next state; below 0 none does
};

struct Tensor {
    Size offset;  // in a slot
    Size batch;   // address of the first row in the batch
    Size bytes;   // of a row
};

struct Copy {
    const Row *rows;
    char *slots;
    Size slot_bytes;
    Tensor tensors[3];
};

template <typename Unit>
__device__ void copy_units(char *to, const char *from, Size bytes) {
    Unit *__restrict__ target = reinterpret_cast<Unit *>(to);
    const Unit *__restrict__ source = reinterpret_cast<const Unit *>(from);
    const Size units = bytes / sizeof(Unit), stride = Size(gridDim.x) * blockDim.x;
    for (Size unit = Size(blockIdx.x) * blockDim.x + threadIdx.x; unit < units; unit += stride) {
        target[unit] = source ? source[unit] : Unit();
    }
}

// Every address is a multiple of 16 but a row's in the batch, which is one of its bytes.
__device__ void copy_row(char *to, const char *from, Size bytes) {
    if (bytes % sizeof(uint4) == 0) {
        copy_units<uint4>(to, from, bytes);
    } else if (bytes % sizeof(unsigned int) == 0) {
        copy_units<unsigned int>(to, from, bytes);
    } else {
        copy_units<char>(to, from, bytes);
    }
}

__device__ char *in_slot(const Copy &copy, const Tensor &tensor, int slot) {
    return copy.slots + slot * copy.slot_bytes + tensor.offset;
}

__device__ char *in_batch(const Tensor &tensor) {
    return reinterpret_cast<char *>(tensor.batch) + blockIdx.y * tensor.bytes;
}

// A grid of parts of a row, rows, tensors.

extern "C" __global__ void gather(const __grid_constant__ Copy copy) {
    const Tensor &tensor = copy.tensors[blockIdx.z];
    const int slot = copy.rows[blockIdx.y].reads;
    copy_row(in_batch(tensor), slot < 0 ? nullptr : in_slot(copy, tensor, slot), tensor.bytes);
}

extern "C" __global__ void scatter(const __grid_constant__ Copy copy) {
    const Tensor &tensor = copy.tensors[blockIdx.z];
    const int slot = copy.rows[blockIdx.y].writes;
    if (slot >= 0) {
        copy_row(in_slot(copy, tensor, slot), in_batch(tensor), tensor.bytes);
    }
}
