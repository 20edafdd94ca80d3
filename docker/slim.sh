#!/bin/sh
# Remove from a virtual environment what avsent never opens. All licence texts stay, in the
# *.dist-info folders.
#
#   sh docker/slim.sh /opt/avsent
set -eu

venv=$1
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
models=$site/face_recognition_models/models
cd "$site"

# Tests of the libraries.
find . -depth -type d \( -name tests -o -name test \) -exec rm -rf {} +

# torch: C++ headers and build files, which only a compiler needs; test programs.
rm -rf torch/include torch/share
if test -d torch/bin; then
    find torch/bin -mindepth 1 ! -name torch_shm_manager -delete
fi
rm -f torch/lib/lib*_test.so torch/lib/libbackend_with_compiler.so torch/lib/libaoti_custom_ops.so
find . -name '*.a' -delete

# OpenCV's face cascades: avsent detects faces with dlib.
rm -f cv2/data/*.xml

# Of dlib's four files avsent uses two: the 68 landmarks and the detector network. The others are for
# face recognition and for five landmarks.
rm -f "$models/dlib_face_recognition_resnet_model_v1.dat" \
      "$models/shape_predictor_5_face_landmarks.dat"

# silero-vad's network in formats that avsent does not load.
find silero_vad/data -name 'silero_vad*' ! -name silero_vad.jit -delete

# Local symbols of libraries, which no program needs: a fifth of torch's size.
for library in torch/lib/libtorch_cpu.so torch/lib/libtorch_python.so torch/lib/libtorch_cuda.so \
               llvmlite/binding/libllvmlite.so; do
    if test -f "$library"; then
        strip --strip-unneeded "$library"
    fi
done
