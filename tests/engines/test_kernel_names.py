import ctypes

import pytest

from engines.kernel_names import kind_of, readable

XMMA = "sm80_xmma_gemm_{}_tn_n_tilesize32x32x64_stage6_warpsize2x2x1_tensor16x8x16_execute_kernel_trt"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        # Seen on an H100 with TensorRT 8.6.
        (XMMA.format("f16f16_f16f16_f16"), "fp16 product"),
        (XMMA.format("f16f16_f16f32_f32"), "fp16 product"),
        ("sm80_xmma_gemm_f16f16_f16f32_f32_tn_n_tilesize32x32x64_stage6_warpsize2x2x1_tensor16x8x16_fused19", "fp16 product"),
        ("sm50_xmma_fprop_conv1d_c1_k1_f16f16_f16_f16_nchwkcrs_nchw_exec_conv1d_c1_k1_general_kernel_1_kernel_trt", "fp16 product"),
        ("sm80_xmma_fprop_implicit_gemm_f32f32_f32f32_f32_nchwkcrs_nchw_tilesize32x32x8_stage3_warpsize1x2x1_g1_ffma", "fp32 product"),
        ("sm50_xmma_conv_fprop_fused_conv_act_fp32_NCHW_fp32_NCHW_KCRS_fp32_fp32_fp32_Accfloat_1_1_cC1_dC1", "fp32 product"),
        ("sm70_xmma_convolution_depthwiseConv_fp32fp32_trt_kernel_fp32_TR_TS_execute_kernel_trt", "fp32 product"),
        ("__myl_bb0_12_SliNegExpAddDivSliMulConSliConGatMulSum", "fused"),
        ("__myl_bb0_9_CasRelCas", "fused"),
        ("__myl_bb0_1_MulEqlLtOrEqlGtrOrAndCasSliResSliResSliResLogResMul", "fused"),
        ("void cuEltwise::eltwise<cuEltwise::SimpleAlgo<float, float>, cuEltwise::Compute<1>>", "elementwise"),
        ("void cuInt8::nchwTonchw<__half, float, 4>", "reformat"),
        ("void genericReformat::copyPackedKernel<float, __half, 1, 1, genericReformat::IdentityCoordMapper<1>, 1>", "reformat"),
        # INT8's.
        (XMMA.format("i8i8_i8i32_f32"), "int8 product"),
        (XMMA.format("i8i32_i8i32_i32"), "int8 product"),
        (XMMA.format("i8f16_i8i32_f32"), "int8 product"),
        ("sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32", "int8 product"),
        ("trt_ampere_int8x4_icudnn_int8x4_128x64_relu_conv_small_nn_v1", "int8 product"),
        ("cutlass_80_tensorop_i16832gemm_s8_64x64_128x6_tn_align16", "int8 product"),
        ("ampere_igemm_int8_128x128_ldg4_nn", "int8 product"),
        ("void genericReformat::copyVectorizedKernel<double, float, signed char, true, true, 1>", "quantize"),
        ("void cuInt8::nchwTonchw<signed char, __half, 4>", "quantize"),
        ("void genericReformat::copyVectorizedKernel<double, signed char, signed char, true, true, 1>", "reformat"),
        ("__myl_bb0_3_MulRouMaxMinCas", "quantize"),
        ("__myl_bb0_3_Qua", "quantize"),
        ("__myl_DequMul_myl0_3", "quantize"),
        ("__myl_bb0_3_AddSqrDivMulCasMulAddMulRouMaxMinCas", "fused"),
        ("__myl_AddQuan_myl0_3", "fused"),
        # Of cuBLAS and cuDNN.
        ("ampere_h16816gemm_64x64_sliced1x2_stages_64x6_tn", "fp16 product"),
        ("void cublasLt::splitKreduce_kernel<32, 16, int, __half, __half, __half, true, true, false>", "fp16 product"),
        ("void gemvNSP_kernel<float, float, float, float, 1, 16, 4, 1024>", "fp32 product"),
        ("void cudnn::ops::nchwToNhwcKernel<__half, __half, float, false, true>", "reformat"),
        ("memcpy", "memory"),
        ("memset", "memory"),
        ("void convertTensor_kernel<float, float, float>", "other"),
        ("host", "other"),
        ("", "other"),
    ],
)  # fmt: skip
def test_kind(name: str, kind: str) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "_ZN6cuInt810nchwTonchwIf6__halfLi8EEEvPKT_PT0_iiiPKfS6_NS_24ReducedDivisorParametersE",
            "void cuInt8::nchwTonchw<float, __half, 8>",
        ),
        (
            "_ZN15genericReformat16copyPackedKernelIf6__halfLi1ELi1ENS_19IdentityCoordMapperILi1EEELi1EEEvjjPKvNS_6ArrayNIXT3_EEEi",
            "void genericReformat::copyPackedKernel<float, __half, 1, 1, genericReformat::IdentityCoordMapper<1>, 1>",
        ),
        ("_Z4callPFviE", "call"),
        ("_Z4enumIL4Kind1EEvi", "void enum<(Kind)1>"),
        ("_Znonsense", "_Znonsense"),
        ("i", "i"),  # that of a type, int, where it is not a kernel's
        ("__myl_bb0_9_CasRelCas", "__myl_bb0_9_CasRelCas"),
    ],
)
def test_readable(name: str, text: str) -> None:
    assert readable(name) == text


def test_readable_without_libstdcxx(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ctypes.CDLL:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert readable("_Z4callPFviE") == "_Z4callPFviE"
