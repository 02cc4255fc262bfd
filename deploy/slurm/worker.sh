#!/bin/sh
#SBATCH --job-name=ttm-worker --gres=gpu:1 --cpus-per-task=8 --mem=64G
#SBATCH --time=12:00:00 --signal=TERM@180 --requeue --array=1-8
set -a; . "$HOME/ttm/worker.env"; set +a
export TTM_WORK_DIR="${SLURM_TMPDIR:-/tmp}/ttm"
exec srun "$HOME/ttm/.venv/bin/python" -m worker
